"""Tests of the sandbox provider as a real process, over real HTTP."""
