"""The domain: what may happen to a payment, an order, a bill, a device and a settlement, and who may cause it.

Nothing in this package depends on FastAPI, Celery or Redis, so that a rule can be read and tested without them.
"""
