"""Accept and process payments as most teams would: with ORM sessions and one Celery task per payment."""
