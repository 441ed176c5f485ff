"""The Celery application as beat runs it: the workers' own, with the timetable, which ``beat.scheduler`` sends."""

from beat.schedule import timetable
from workers.app import app, settings

app.conf.beat_schedule = timetable(scale=settings.timetable_scale)
