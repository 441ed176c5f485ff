"""The Celery worker: thin tasks that each make one call into ``workflows``, and the machinery around them."""
