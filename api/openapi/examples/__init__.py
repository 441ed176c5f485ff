"""Example requests and answers of the OpenAPI document, one module per entity."""
