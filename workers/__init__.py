"""Celery, and nothing but Celery: thin tasks that each make one call into ``workflows``."""
