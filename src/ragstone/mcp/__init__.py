"""The engine as tools of the Model Context Protocol, over stdio or inside the HTTP service.

`tools` is what a model may call, without the protocol, in the `forms` it takes and gives; `protocol` puts it on the
wire with the official SDK.
"""
