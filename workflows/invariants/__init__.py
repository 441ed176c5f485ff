"""The first judge: the rules about money (behaviour §13), asked of our own database.

Each rule is one SQL query that returns what breaks it, so ``mpac invariants``, the operators' endpoint, the metric and
the tests all judge by the same words. It is half of the proof: the second judge (``mpac.audit``) shares no code with
it and believes only the provider's ledger.
"""
