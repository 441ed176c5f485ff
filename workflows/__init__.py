"""The domain: what may happen to a payment, an order, a bill, a device and a settlement, and who may make it happen.

Nothing here has heard of FastAPI, Celery or Redis, so that a rule can be read, tested and trusted without them.
"""
