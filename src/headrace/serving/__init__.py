"""The server: features over HTTP. `headrace serve` runs it.

`app` makes the application, `server` runs it in worker processes. A hot route (`hot_route`) is a plain Starlette route:
msgspec decodes its request, and its answer is bytes. Everything else is a FastAPI route.
"""
