"""Types of query parameters, of which only one spelling of each value is accepted.

pydantic alone would accept ``1_0``, ``5.0`` and ``05`` as integers, ``on`` as a boolean, and a number as a timestamp, although
a number does not say whether it counts seconds or milliseconds.
"""

import re
from datetime import date
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field

from api.schemas.patterns import DAY_PATTERN, IN_WORDS

TIMESTAMP_ISSUE = "Must be a timestamp with an offset, for example 2026-11-23T10:00:00Z"


def _canonical_spelling(pattern: str, issue: str) -> BeforeValidator:
    form = re.compile(pattern)

    def check(value: Any) -> Any:
        if isinstance(value, str) and not form.fullmatch(value):
            raise ValueError(issue)
        return value

    return BeforeValidator(check)


WholeNumber = Annotated[int, _canonical_spelling("-?(0|[1-9][0-9]*)", "Must be a whole number")]
Seconds = Annotated[float, _canonical_spelling(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", "Must be a number")]
Flag = Annotated[bool, _canonical_spelling("true|false", "Must be true or false")]
Instant = Annotated[
    AwareDatetime,
    _canonical_spelling(
        "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?([Zz]|[+-][0-9]{2}:?[0-9]{2})",
        TIMESTAMP_ISSUE,
    ),
]
Text50 = Annotated[str, Field(min_length=1, max_length=50)]
Text80 = Annotated[str, Field(min_length=1, max_length=80)]
Text100 = Annotated[str, Field(min_length=1, max_length=100)]
Text200 = Annotated[str, Field(min_length=1, max_length=200)]
"""Texts to search for. An empty text is refused: no row has one, so the client probably did not set a variable."""
Day = Annotated[date, _canonical_spelling(DAY_PATTERN, IN_WORDS[DAY_PATTERN])]
