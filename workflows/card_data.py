"""Card data: what must never be accepted, so that it can never be stored, logged or put on the broker.

A value could be a card number if it holds 13 to 19 digits, perhaps in groups, that begin as networks' numbers do (2 to 6)
and pass the Luhn test. Where there are more digits (an expiry date behind the number, a till's number before it), each
group is looked at, and groups that follow each other as they do on cards. Track data and fields named for a CVV or a PIN are
refused whatever they hold. UUIDs, hashes and our own ids are left alone wherever they stand: their digits are hexadecimal, and
one in some thousands of them has such a row by chance.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

_RUN = re.compile(r"\d(?:[ \-\u2010-\u2015\u2212\uff0d]?\d){12,}")
"""Digits, of any script, with a space or a dash between them: enough of them for a card number."""

_GROUP = re.compile(r"\d+")
_ON_CARDS = ((4, 4, 4, 4), (4, 4, 4, 4, 1), (4, 4, 4, 4, 2), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4), (4, 3, 3, 3))
"""How the digits of a number are grouped where people read them."""

_HEXADECIMAL = re.compile(
    r"(?<![0-9a-z])(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32,})(?![0-9a-z])",
    re.IGNORECASE,
)
_TRACK = re.compile(r"%B\d{12,19}\^|;\d{12,19}=")
_FORBIDDEN_NAMES = re.compile(
    r"(?:card_?)?(?:cvv2?|cvc2?|cid|csc|pin|pin_?block|track_?[123]?|track_?data|pan|card_?number)", re.IGNORECASE
)
_MASK = "…"

ISSUE = "Looks like card data, which is never accepted here; send the provider's token instead"


def _passes_luhn(digits: str) -> bool:
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 else 1)
        total += value - 9 if value > 9 else value  # noqa: PLR2004 - the Luhn test adds the digits of two-digit products
    return total % 10 == 0


SHORTEST, LONGEST = 13, 19
"""Digits of a card number: what has fewer characters needs no further look."""


def looks_like_card_data(value: str) -> bool:
    """Whether ``value`` holds something that could be a card number or track data."""
    if len(value) < SHORTEST:
        return False
    if _TRACK.search(value):
        return True
    if not _RUN.search(value):
        return False
    runs = _RUN.findall(_HEXADECIMAL.sub(_MASK, value))
    return any(_could_be_a_card(number) for run in runs for number in _candidates(_GROUP.findall(run)))


def _candidates(groups: list[str]) -> Iterator[str]:
    lengths = tuple(len(group) for group in groups)
    if sum(lengths) <= LONGEST:
        yield "".join(groups)
    yield from groups
    for start in (place for place, length in enumerate(lengths) if length == _ON_CARDS[0][0]):
        for shape in _ON_CARDS:
            if lengths[start : start + len(shape)] == shape:
                yield "".join(groups[start : start + len(shape)])


def _could_be_a_card(number: str) -> bool:
    return SHORTEST <= len(number) <= LONGEST and 2 <= int(number[0]) <= 6 and _passes_luhn(number)  # noqa: PLR2004 - see above


def find_card_data(value: Any, path: str = "") -> Iterator[str]:
    """The paths (``metadata.note``, ``items.0.name``) of everything in a parsed JSON ``value`` that must be refused."""
    if isinstance(value, dict):
        for name, inner in value.items():
            here = f"{path}.{mask(str(name))}" if path else mask(str(name))
            if _is_forbidden_name(str(name)):
                yield here
            else:
                yield from find_card_data(inner, here)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from find_card_data(inner, f"{path}.{index}" if path else str(index))
    elif looks_like_card_data(_as_text(value)):
        yield path


def _as_text(value: Any) -> str:
    """A scalar as it would be read: a number with a fraction or an exponent in its plain digits."""
    return f"{value:f}" if isinstance(value, float) else str(value)


@lru_cache(maxsize=1_024)  # the same few names come with every request
def _is_forbidden_name(name: str) -> bool:
    return _FORBIDDEN_NAMES.fullmatch(name) is not None or looks_like_card_data(name)


def mask(value: str) -> str:
    """``value`` without anything that could be a card number."""
    return _MASK if looks_like_card_data(value) else value
