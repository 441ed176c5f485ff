"""The sandbox provider: a stand-in for an acquirer, with its own ledger and configurable faults.

It imports nothing of the product and is reached only over HTTP, because the product is audited against it: its ledger says
what really happened to the money. README.md beside this file is its contract.
"""
