"""The command line: `app.main` runs it. Knows the engine and the wire forms; keeps no state of its own."""
