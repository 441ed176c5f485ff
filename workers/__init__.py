"""Celery only: thin tasks that each make one call into ``workflows``."""
