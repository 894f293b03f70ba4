"""The service: HTTP routes and the page over one engine. `app.create_app` builds it, `serving.serve` runs it."""
