"""Patterns of texts that have a form of their own; ``api.errors`` says them in words."""

from workflows.ids import WELL_FORMED

ID_PATTERN = f"^{WELL_FORMED.pattern}$"
"""An id of anything: what it begins with is not looked at, an unknown one is simply not found."""

RATE_PATTERN = r"^0(\.[0-9]{1,5})?$"
"""A tax rate: a fraction as a decimal text, because a JSON number would be a float for most who read it."""
