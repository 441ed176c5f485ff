"""HTTP/1.1 connections: framing, limits and the order of requests, built on uvicorn's protocol."""
