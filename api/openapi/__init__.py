"""The OpenAPI document: FastAPI's document of the routes, completed with what FastAPI cannot derive."""
