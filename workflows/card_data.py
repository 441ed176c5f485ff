"""Detect card data, so that it is never stored, logged or put on the broker.

All input from outside passes this detector: bodies, headers, queries, files and the answers of providers. A value could be a
card number if some of its digits, of any script, have the length and the first digits of a card brand and pass the Luhn test,
whatever letters are next to them. Digits may be in groups:

| digits | which of them are examined as one number |
|---|---|
| a run of 13 to 19 digits (without leading zeros) | the run; a longer run is never a card number, whichever part passes |
| groups of equal size, or of the sizes on cards | the groups from each group on, whatever other groups are next to them |
| groups of any size, with one kind of separator or with usual separators | all groups together |

Most numeric ids, bar codes (valid EAN-13) and timestamps are accepted, because their first digits, lengths or check digits
differ. UUIDs and strings of 32 or more hexadecimal digits (24 if letters occur in two places) are not examined: one in a few
thousand contains such digits by chance, so that most files with such references would be refused.
Track data, and fields named after a card number, a CVV or a PIN, are detected whatever their value is.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

SHORTEST, LONGEST = 13, 19
"""The numbers of digits that a card number may have."""

_ALL = range(SHORTEST, LONGEST + 1)
BRANDS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "American Express": ("3[47]", (15,)),
    "Diners Club": ("30[0-5]|3095|3[689]", tuple(range(14, 20))),
    "Discover": ("6011|64[4-9]|65", tuple(range(16, 20))),
    "JCB": ("35(?:2[89]|[3-8][0-9])", tuple(range(16, 20))),
    "Maestro": ("50(?:18|20|38)|5893|6304|67(?:59|6[1-3])", tuple(_ALL)),
    "Maestro and national debit cards": ("50|5[6-8]|6[37]", (16, 18, 19)),
    "Mastercard": ("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,)),
    "Mir": ("220[0-5]", tuple(range(16, 20))),
    "RuPay": ("60|8[12]", (16,)),
    "Troy": ("9792", (16,)),
    "UnionPay": ("62", tuple(range(16, 20))),
    "Visa": ("4", (13, 16, 19)),
}
"""Brand → a pattern of the first digits of its numbers, and their lengths (ISO/IEC 7812, ranges published by the brands)."""

_BEGINNINGS = {
    length: re.compile("|".join(beginning for beginning, lengths in BRANDS.values() if length in lengths))
    for length in _ALL
}
_GROUPED = {4: ((4, 6, 5), (4, 6, 4), (4, 3, 3, 3)), 6: ((6, 9), (6, 10), (6, 13))}
"""Size of the first group → the groupings, on cards and in files, whose groups differ in size."""

_SPAN = re.compile(
    r'[0-9][^A-Za-z"\[\]{}\x80-\U0010ffff]{11,}[0-9]'
)  # contains every match of _RUN, and is found six times as fast
_SEPARATOR = r'[^0-9A-Za-z"\[\]{}\x00\x80-\U0010ffff]'  # any character except those that separate the values of JSON
_BETWEEN = rf"\x00*(?:{_SEPARATOR}\x00*){{0,3}}"
_RUN = re.compile(rf"[0-9](?:{_BETWEEN}[0-9]){{12,}}")
_GROUP = re.compile(r"[0-9]+")
_MANY = 512
_USUAL = frozenset(" -.")
_HEXADECIMAL = re.compile(
    r"(?<![0-9a-z])(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|[0-9a-f]{32,}|(?=[0-9]*[a-f]+[0-9]+[a-f])[0-9a-f]{24,})(?![0-9a-z])",
    re.IGNORECASE,
)
_TRACK = re.compile(r"%B[0-9]{12,19}\^|;[0-9]{12,19}=", re.IGNORECASE)

_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))
_FEWEST = 12  # the fewest digits of track data; a card number has at least one more

_SECRETS = ("cvv", "cvv2", "cvc", "cvc2", "cvn", "cvn2", "cid", "csc", "pin", "pinblock", "pan", "track", "trackdata")
_NAMES = frozenset(
    {*_SECRETS, *(f"card{secret}" for secret in _SECRETS), "cardnumber", "cardno", "primaryaccountnumber", "magstripe"}
    | {"cardsecuritycode", "securitycode", "cvvcode", "cvccode", "encryptedpin", "magstripedata"}
    | {
        f"{card}track{number}{data}"
        for card in ("", "card")
        for number in "123"
        for data in ("", "data", "equivalentdata")
    }
)
_LONGEST_NAME = 40
_SMALLEST = 10 ** (SHORTEST - 1)
_MASK, _MASKED_DIGIT = "…", "*"

ISSUE = "Looks like card data, which is never accepted here; send the provider's token instead"


class _Folding(dict[int, int]):
    """Maps every character to ASCII.

    A digit of any script becomes that digit, a separator ``-``, and an invisible character NUL.
    """

    def __missing__(self, code: int) -> int:
        folded = _fold(chr(code))
        if code <= 0xFFFF:  # noqa: PLR2004 - only the basic plane is cached; all of Unicode would take 100 MB
            self[code] = folded
        return folded


def _fold(character: str) -> int:
    value = unicodedata.numeric(character, -1)
    category = unicodedata.category(character)
    if value in range(10):
        return ord("0") + int(value)
    if character.isascii() and category != "Cc":
        return ord(character)
    if category in ("Cf", "Mn", "Me"):  # zero-width characters, and marks that combine with a digit
        return 0
    if (
        category[0] in "LMNC" and category != "Lm"
    ):  # category Lm is a separator: a Japanese long vowel mark is often typed for a dash
        return ord("x") if category != "Cc" else ord(" ")
    return ord("-")


_FOLDING = _Folding()


def looks_like_card_data(value: str) -> bool:
    """Return whether ``value`` contains digits that could be a card number, or track data."""
    if len(value) < _FEWEST:
        return False
    if not value.isascii():
        value = value.translate(_FOLDING)
    if (
        len(value.encode().translate(None, _NO_DIGITS)) < _FEWEST
    ):  # most values end here, after a quarter of a microsecond
        return False
    runs = _RUN.findall('"'.join(_SPAN.findall(value)))
    if sum(map(len, runs)) > _MANY and sum(len(_GROUP.findall(run)) for run in runs) > _MANY:
        return True  # refused without a search: 32,000 groups would take half a second, and no field has so many
    if any(map(_has_card_number, runs)):
        return next(_spans(value), None) is not None  # the same without ids, which is slower
    return ("%" in value or ";" in value) and _TRACK.search(value) is not None


def mask(value: str) -> str:
    """Return ``value``, or an ellipsis instead if it could contain a card number."""
    return _MASK if looks_like_card_data(value) else value


def mask_digits(value: str) -> str:
    """Return ``value`` with each digit of a possible card number replaced by an asterisk."""
    if not looks_like_card_data(value):
        return value
    folded = value.translate(_FOLDING)
    masked = list(value)
    for start, end in _spans(folded):
        for index in range(start, end):
            if folded[index].isdigit():
                masked[index] = _MASKED_DIGIT
    return "".join(masked)


def _spans(folded: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each part of ``folded`` that contains card data.

    A part includes the digits next to the card data.
    """
    yield from (found.span() for found in _TRACK.finditer(folded))
    without_ids = _HEXADECIMAL.sub(lambda found: "x" * len(found[0]), folded)
    for run in _RUN.finditer(without_ids):
        if _has_card_number(run[0]):
            yield run.span()


def _has_card_number(run: str) -> bool:
    """Return whether digits of ``run`` could be a card number."""
    return any(map(could_be_card_number, _candidates(run)))


def _candidates(run: str) -> list[str]:
    """Return the digits in ``run`` that may be one number, by the rules for groups in the module's table."""
    run = run.replace("\x00", "")
    groups = _GROUP.findall(run)
    found = [group.lstrip("0") for group in groups if len(group) >= SHORTEST]
    if len(groups) == 1:
        return found
    separators = set(_GROUP.split(run)[1:-1])
    if len(separators) == 1 or _USUAL.issuperset("".join(separators)):
        found.append("".join(groups[: LONGEST + 1]))
    lengths = tuple(map(len, groups))
    for start, size in enumerate(lengths[:-1]):
        if size * (len(lengths) - start) >= SHORTEST:
            found += _equal_groups(groups[start : start + LONGEST], size)
        for shape in _GROUPED.get(size, ()):
            if lengths[start : start + len(shape)] == shape:
                found.append("".join(groups[start : start + len(shape)]))
    return found


def _equal_groups(groups: list[str], size: int) -> Iterator[str]:
    """Join ``groups`` from the first one on, and yield each result that has the length of a card number.

    All groups of a number have ``size`` digits; only its last group may be shorter.
    """
    number = ""
    for group in groups:
        if len(group) > size:
            return
        number += group
        if SHORTEST <= len(number) <= LONGEST:
            yield number
        if len(group) < size or len(number) >= LONGEST:
            return


def could_be_card_number(digits: str) -> bool:
    """Return whether the ASCII ``digits`` have a brand's length and first digits and pass the Luhn test."""
    beginning = _BEGINNINGS.get(len(digits))
    if beginning is None or not beginning.match(digits) or not _passes_luhn(digits):
        return False
    return not (len(digits) == SHORTEST and _is_bar_code(digits))


def _passes_luhn(digits: str) -> bool:
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def _is_bar_code(digits: str) -> bool:
    """Return whether 13 digits are a valid EAN (JAN) number.

    Such a number is likelier than a Visa number of 13 digits: Visa no longer issues numbers of this length.
    """
    return (sum(map(int, digits[::2])) + 3 * sum(map(int, digits[1::2]))) % 10 == 0


def find_card_data(value: Any, path: str = "") -> list[str]:
    """Return the paths of card data in a parsed JSON ``value``.

    A path is written like ``metadata.note`` or ``items.0.name``.
    """
    return list(_paths(value, path)) if contains_card_data(value) else []


def contains_card_data(value: Any) -> bool:
    """Return whether a parsed JSON ``value`` has card data in a name or value, at any depth."""
    kind = type(value)
    if kind is str:
        return looks_like_card_data(value)
    if kind is int:
        return not -_SMALLEST < value < _SMALLEST and looks_like_card_data(str(value))
    if kind is dict:
        for name, inner in value.items():
            if is_secret_name(name) or looks_like_card_data(name) or contains_card_data(inner):
                return True
        return False
    if kind is list:
        return any(map(contains_card_data, value))
    return value is not None and any(map(looks_like_card_data, _spellings(value)))


def _paths(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if is_secret_name(name) or looks_like_card_data(name):
                yield _under(path, mask(name))
            else:
                yield from _paths(inner, _under(path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _paths(inner, _under(path, str(index)))
    elif contains_card_data(value):
        yield path


def _under(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _spellings(value: Any) -> tuple[str, ...]:
    """Return the spellings of a scalar: for a float, one without and one with an exponent."""
    return (f"{value:f}", repr(value)) if isinstance(value, float) else (str(value),)


@lru_cache(maxsize=1_024)  # every request has the same few names
def is_secret_name(name: str) -> bool:
    """Return whether a field of this name is for a card's number, CVV, PIN or magnetic stripe."""
    if len(name) > _LONGEST_NAME:
        return False
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(filter(str.isalnum, plain)) in _NAMES
