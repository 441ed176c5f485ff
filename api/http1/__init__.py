"""The HTTP/1.1 connection, below the application: framing, limits and order, on top of uvicorn's protocol."""
