"""Scheduling: the timetable of periodic tasks, and the sweeps, which are the tasks that find rows that are due."""
