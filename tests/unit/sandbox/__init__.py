"""Tests of sandbox provider code that needs no running process."""
