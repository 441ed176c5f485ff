"""The same work as others would write it: one folder each."""
