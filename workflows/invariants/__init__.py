"""The invariants: the rules about money (behaviour §13), checked on our own database.

Each rule is one SQL query that returns its violations; ``mpac invariants``, the operators' endpoint, the metric and the tests
all run the same queries. They are half of the audit: the other auditor (``mpac.audit``) shares no code with them and trusts
only the provider's ledger.
"""
