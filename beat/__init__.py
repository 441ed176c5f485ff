"""Scheduling only: the timetable, and the sweeps that find what is due."""
