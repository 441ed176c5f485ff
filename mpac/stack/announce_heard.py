"""Announce a worker once it consumes: loaded into our workers by ``celery worker --include``.

A worker is ready when it has consumed a message that was sent to it alone (``workers.hearing``); Celery's own signal says only
that it is about to.
"""

from mpac.stack.announce import announce
from workers.hearing import when_heard

when_heard.append(announce)
