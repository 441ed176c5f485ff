"""Accept and process payments as most teams would write it: ORM sessions, one Celery task per payment."""
