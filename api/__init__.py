"""HTTP and nothing else: read the request, make one call into ``workflows``, answer."""
