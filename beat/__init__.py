"""When, and nothing but when: the timetable, and the sweeps that find what is due."""
