"""Accepting and processing payments as most teams would write it: ORM sessions, one Celery task per payment."""
