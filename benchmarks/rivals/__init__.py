"""The same work in other designs, one folder each."""
