"""Parse the amounts of a provider's file, in minor units or with decimals, without guessing.

The decimal mark depends on the country: ``1.000`` is one in Tokyo and a thousand in Berlin. The mapping declares the marks
(``decimal_mark``, ``thousands_mark``). If it does not, an amount is read with a point before the decimals and commas between
groups, provided that it has no other reading:

| amount | without declared marks | why |
|---|---|---|
| ``1050``, ``10.50``, ``1,050.25``, ``1,234,567`` | read | the same number in every country |
| ``1.050``, ``1,050`` | refused | a thousand and fifty, or a little more than one |
| ``1,050`` of a currency without decimals | read | yen are never written with three decimals |
| ``10,50``, ``1.050,25``, ``1 050`` | refused | these marks have to be declared |
| ``1,00,0``, ``1e3``, full-width digits | refused | malformed |

The point of a number in JSON is its decimal mark, whatever the mapping declares for texts. More decimals than the
currency has are refused even if they are zeros, because such a file may use another mark.
"""

import re
from collections.abc import Callable

from workflows.card_data import mask_digits
from workflows.money import MAX_MOVED, exponent
from workflows.providers.statement_mapping import StatementMapping
from workflows.reconciliation.statements.lines import JsonNumber, UnreadableStatement

ReadAmount = Callable[[str, str, str], int]
"""The parser of a cell. Its arguments are the text, the currency, and the name of our field for the error."""

MAX_SHOWN = 40
_WHOLE = re.compile(r"[+-]?[0-9]{1,16}")
_JSON_NUMBER = re.compile(r"(-?)([0-9]{1,16})\.([0-9]{1,8})")
_AMBIGUOUS = re.compile(r"[+-]?0*[1-9][0-9]{0,2}[.,][0-9]{3}")
_SPACES = "[ \u00a0\u2009\u202f]"
_SAME_MARK = {" ": _SPACES, "'": "['\u2019]"}
"""The marks that have several spellings, each with the pattern that matches them all."""


def amount_reader(mapping: StatementMapping) -> ReadAmount:
    """Return the parser of the amounts of a file. The parser raises ``UnreadableStatement``."""
    if mapping.amounts == "minor":
        return _minor
    decimal_mark, thousands_mark = mapping.marks
    is_declared = mapping.decimal_mark is not None
    grouped = _SAME_MARK.get(thousands_mark, re.escape(thousands_mark))
    in_thousands = rf"[1-9][0-9]{{0,2}}(?:{grouped}[0-9]{{3}}){{1,5}}"
    in_lakhs = rf"[1-9][0-9]?(?:{grouped}[0-9]{{2}}){{1,6}}{grouped}[0-9]{{3}}"  # India: 1,00,000
    spelling = re.compile(
        rf"([+-]?)([0-9]{{1,16}}|{in_thousands}|{in_lakhs}|)(?:{re.escape(decimal_mark)}([0-9]{{1,8}}))?"
    )
    groups = re.compile(grouped)

    def read(text: str, currency: str, field: str) -> int:
        decimal_places = exponent(currency)
        is_number = isinstance(text, JsonNumber)
        if not is_number and not is_declared and _AMBIGUOUS.fullmatch(text) and (decimal_places or "." in text):
            raise UnreadableStatement(
                field, f'{quote_cell(text)} may mean two amounts; declare decimal_mark in the mapping ("." or ",")'
            )
        found = (_JSON_NUMBER if is_number else spelling).fullmatch(text)
        if found is None or not (found[2] or found[3]):
            raise UnreadableStatement(field, _complaint(text, decimal_mark, thousands_mark, is_declared=is_declared))
        decimals = found[3] or ""
        if len(decimals) > decimal_places:
            raise UnreadableStatement(
                field, f"{quote_cell(text)} has more decimals than {currency}, which has {decimal_places}"
            )
        minor = int(found[1] + (groups.sub("", found[2]) or "0") + decimals.ljust(decimal_places, "0"))
        return _bounded(minor, field)

    return read


def quote_cell(value: str) -> str:
    """Return a cell as error messages quote it: short, printable and without card data."""
    text = mask_digits(value)
    text = "".join(character if character.isprintable() else "\ufffd" for character in text[:MAX_SHOWN])
    return f'"{text}…"' if len(value) > MAX_SHOWN else f'"{text}"'


def _complaint(text: str, decimal_mark: str, thousands_mark: str, *, is_declared: bool) -> str:
    if not text:
        return "Must not be empty"
    hint = "" if is_declared else "; if it has other marks, declare decimal_mark and thousands_mark in the mapping"
    example = f"1{thousands_mark}050{decimal_mark}25"
    return f"{quote_cell(text)} is not a decimal number such as {example}{hint}"


def _minor(text: str, _currency: str, field: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise UnreadableStatement(
            field,
            f"{quote_cell(text)} is not a whole number of minor units; for amounts with decimals declare amounts: major",
        )
    return _bounded(int(text), field)


def _bounded(amount: int, field: str) -> int:
    if abs(amount) > MAX_MOVED:  # so that no sum of lines can overflow a bigint
        raise UnreadableStatement(field, f"Must be at most {MAX_MOVED} minor units")
    return amount
