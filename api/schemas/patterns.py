"""Patterns of texts in a fixed format, and the message to a client whose text does not match."""

from collections.abc import Mapping

from workflows.ids import WELL_FORMED

ID_PATTERN = f"^{WELL_FORMED.pattern}$"
"""An id of any entity. Its prefix is not checked, because a wrong id is answered with 404 anyway."""

RATE_PATTERN = r"^0(\.[0-9]{1,5})?$"
"""A tax rate: a fraction as decimal text, because most readers would parse a JSON number as a float."""

# [0-9] rather than \d, which matches the digits of all scripts.
_DAY = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"
DAY_PATTERN = rf"^{_DAY}$"
TIME_PATTERN = rf"^{_TIME}$"
LOCAL_TIME_PATTERN = rf"^{_DAY}T{_TIME}$"

LAST_4_PATTERN = r"^[0-9]{4}$"
NAME_PATTERN = r"^[a-z][a-z0-9_]{0,63}$"
"""The name of a provider's credential."""

IN_WORDS: Mapping[str, str] = {
    ID_PATTERN: "Must be an id from an answer: letters, digits, - and _, 80 at most",
    RATE_PATTERN: 'Must be a fraction below 1 with 5 decimals at most, for example "0.08" for 8 %',
    DAY_PATTERN: "Must be a date, for example 2026-11-23",
    TIME_PATTERN: "Must be a time of day from 00:00 to 23:59, for example 05:00",
    LOCAL_TIME_PATTERN: "Must be a local date and time of the store without an offset, for example 2026-11-24T03:00",
    LAST_4_PATTERN: "Must be the last four digits of the card's number",
    NAME_PATTERN: "Must be a name of small letters, digits and _ that begins with a letter, 64 at most",
}
