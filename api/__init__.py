"""HTTP, and nothing but HTTP: read the request, make one call into ``workflows``, answer."""
