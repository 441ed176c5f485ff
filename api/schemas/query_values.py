"""Values in a query: accept one spelling of each, because the validator accepts some that other readers take differently.

``1_0``, ``5.0`` and ``05`` are no whole numbers for most readers, ``on`` is no boolean, and a number is no timestamp: of
one without a unit nobody can say whether it counts seconds or milliseconds.
"""

import re
from datetime import date
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field

from api.schemas.patterns import DAY_PATTERN, IN_WORDS

INSTANT_ISSUE = "Must be an instant with its offset, for example 2026-11-23T10:00:00Z"


def _written(pattern: str, issue: str) -> BeforeValidator:
    form = re.compile(pattern)

    def check(value: Any) -> Any:
        if isinstance(value, str) and not form.fullmatch(value):
            raise ValueError(issue)
        return value

    return BeforeValidator(check)


WholeNumber = Annotated[int, _written("-?(0|[1-9][0-9]*)", "Must be a whole number")]
Seconds = Annotated[float, _written(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", "Must be a number")]
Flag = Annotated[bool, _written("true|false", "Must be true or false")]
Instant = Annotated[
    AwareDatetime,
    _written(
        "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?([Zz]|[+-][0-9]{2}:?[0-9]{2})",
        INSTANT_ISSUE,
    ),
]
Text50 = Annotated[str, Field(min_length=1, max_length=50)]
Text80 = Annotated[str, Field(min_length=1, max_length=80)]
Text100 = Annotated[str, Field(min_length=1, max_length=100)]
Text200 = Annotated[str, Field(min_length=1, max_length=200)]
"""Texts to look for. An empty one is refused: it is a variable that was not set, and no row has it."""
Day = Annotated[date, _written(DAY_PATTERN, IN_WORDS[DAY_PATTERN])]
