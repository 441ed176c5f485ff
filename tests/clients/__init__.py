"""Clients that are generated from the OpenAPI document and pay: ``tools`` installs the generators, ``generated`` runs them."""
