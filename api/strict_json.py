"""Decode JSON strictly: reject repeated names, NaN and infinity.

A usual decoder silently keeps the last of two equal names, but a proxy in front of the service may have used the first.
Repeated names are rejected while decoding, because the decoded value no longer shows them.

The strict decoder is the standard library's, with a function that is called for each object. Most bodies need neither: orjson
decodes them, and ``_names`` shows that the strict decoder would return the same. Both decoders give different results only
for these texts, which are left to the strict one:

| text                                              | how it is recognised                                                |
|---------------------------------------------------|---------------------------------------------------------------------|
| a repeated name (or a colon in a string)          | more colons than names                                              |
| a fraction, an exponent, more than 64 bits        | orjson returns a float                                              |
| NaN, infinity, lone surrogates, UTF-16, BOM       | orjson refuses them                                                 |
| deep nesting                                      | more than ``PLAIN_DEPTH`` levels                                    |

For a payment's body this takes 3 µs instead of 10.5.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

import orjson

from workflows.errors import Detail, MalformedRequest
from workflows.reconciliation.statements.lines import JsonNumber

REPEATABLE = re.compile(r"[A-Za-z_]{1,64}")
"""A name that an error may quote. Any other text could be anything that a person typed, even a card number."""


def read_json(raw: bytes, *, field: str = "body", exact: bool = False) -> Any:
    """Decode ``raw``. Raises ``MalformedRequest`` for ``field`` if it is not valid JSON or repeats a name.

    With ``exact``, a number with a fraction or an exponent stays the text that was sent, because a float has only 16 digits.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass  # the strict decoder accepts more encodings, and its error is the answer
    else:
        if _names(value, PLAIN_DEPTH) == raw.count(b":"):
            return value
    return decode_strictly(raw, field=field, exact=exact)


def decode_strictly(raw: bytes, *, field: str, exact: bool) -> Any:
    """Do what ``read_json`` does, with the standard library's decoder alone."""
    try:
        return (_EXACT if exact else _DECODER).decode(raw.decode(json.detect_encoding(raw), "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(Detail(field, "Must be valid JSON")) from error
    except MalformedRequest as error:
        raise MalformedRequest(Detail(field, error.details[0].issue)) from error


PLAIN_DEPTH = 16
"""The deepest nesting that is decoded by orjson alone. The decoders have different limits, far above it."""

_NOT_PLAIN = -(2**62)
"""Fewer names than any text has colons, whatever is added to it."""


def _names(value: Any, depth: int) -> int:
    """Return the number of names in ``value``; negative for a float or a depth above ``depth``."""
    kind = type(value)
    if kind is dict or kind is list:
        if not depth:
            return _NOT_PLAIN
        found, inner = (len(value), value.values()) if kind is dict else (0, value)
        for each in inner:
            of_each = type(each)
            if of_each is dict or of_each is list or of_each is float:
                found += _names(each, depth - 1)
        return found
    return _NOT_PLAIN if kind is float else 0


def check_once(names: Iterable[str], *, field: str) -> None:
    """Raise ``MalformedRequest`` for ``field`` if one of ``names`` occurs twice."""
    seen = set[str]()
    for name in names:
        if name in seen:
            quoted = name if REPEATABLE.fullmatch(name) else "the same thing"
            raise MalformedRequest(Detail(field, f"Must name {quoted} only once"))
        seen.add(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        check_once((name for name, _ in pairs), field="body")
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number)
_EXACT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number, parse_float=JsonNumber)
