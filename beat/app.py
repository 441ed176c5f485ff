"""The Celery application as beat runs it: the workers' own, with the timetable.

RedBeat keeps the timetable and a lock in the broker, so that of several beats one is active. Correctness never depends
on that: two at once only nudge twice.
"""

from beat.schedule import timetable
from workers.app import app, settings

app.conf.beat_schedule = timetable(scale=settings.timetable_scale)
