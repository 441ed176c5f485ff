"""The second judge: what the provider's own ledger says of our payments.

It shares no code with the first judge (``workflows.invariants``) and none with the product: plain SQL on our side, HTTP
on the provider's, and a comparison in between. Where both agree, a mistake would have to be made twice, differently.
"""
