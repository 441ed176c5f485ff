"""The invariants: the rules about money (behaviour §13), checked on our own database.

Each rule is one SQL query that returns its violations. ``mpac invariants``, the operators' endpoint, the metric and the tests
all run the same queries.

The invariants are one of three auditors. The other two (``mpac.audit``) compare our payments and our sums with the provider's
ledger, and share no code with this one.
"""
