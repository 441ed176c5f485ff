"""The sandbox provider: a stand-in for an acquirer, with its own ledger and configurable faults.

The product is audited against the sandbox's ledger, which says what really happened to the money. The sandbox therefore
imports nothing of the product and is reached only over HTTP. README.md beside this file is its contract.
"""
