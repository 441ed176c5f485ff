"""HTTP/1.1 on the connection, below the application: what uvicorn leaves open is decided here."""
