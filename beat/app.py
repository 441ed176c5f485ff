"""The Celery application for beat: the workers' application with the timetable that ``beat.scheduler`` sends."""

from beat.timetable import timetable
from workers.app import app, settings

app.conf.beat_schedule = timetable(scale=settings.timetable_scale)
