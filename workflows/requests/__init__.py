"""Requests that arrive more than once, or together: idempotency keys and shared lookups."""
