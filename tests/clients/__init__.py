"""Generate clients from the OpenAPI document and pay with them.

``tools`` installs the generators, and ``generated`` runs them.
"""
