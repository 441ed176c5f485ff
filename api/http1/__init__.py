"""The HTTP/1.1 connection below the application: framing, limits and order, built on uvicorn."""
