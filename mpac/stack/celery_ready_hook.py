"""Announce a worker once it consumes; ``celery worker --include`` loads this module into our workers.

A worker is ready when it has consumed a message that was sent to it alone (``workers.consumption_check``); Celery's own
signal says only that it is about to consume.
"""

from mpac.stack.ready_file import announce_ready
from workers.consumption_check import on_first_message

on_first_message.append(announce_ready)
