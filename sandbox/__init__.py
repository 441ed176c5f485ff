"""The sandbox provider: a stand-in for an acquirer, with a ledger of its own and a dial for faults.

It imports nothing of the product and is reached only over HTTP, because it is the judge of the product: what its
ledger says is what really happened to the money. README.md beside this file is its contract.
"""
