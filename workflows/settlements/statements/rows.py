"""One row of a provider's file, read strictly: a value that is not what the mapping says is refused, never repaired.

Made for a million rows: what the mapping decides is decided once, and a row costs a few look-ups.
"""

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal

from workflows.card_data import ISSUE, looks_like_card_data
from workflows.money import MAX_MOVED, currencies, exponent
from workflows.providers.statement_mapping import StatementMapping
from workflows.settlements.statements.lines import BadLine, Line

MAX_REFERENCE = 200

_WHOLE = re.compile(r"[+-]?\d{1,16}")
_DECIMAL = re.compile(r"[+-]?(?=\.?\d)(?:\d{1,16}|\d{1,3}(?:,\d{2,3}){0,4},\d{3})?(?:\.\d{1,8})?")
"""Commas stand between groups only, the last of them three digits (1,050.25; 1,00,000 in India): "10,50" means ten and a half
where it is written, and must not become 1050. Digits enough for any amount, and few enough for Decimal to keep them all."""
_DAY = re.compile(r"(\d{4})[-/]?(\d{2})[-/]?(\d{2})")
_SUSPICIOUS = re.compile(r"(?<![0-9A-Za-z_])[2-6](?:[ -]?\d){12,18}(?![0-9A-Za-z_])|[%;]B?\d{12}")
"""Digits that stand alone and could be a card number; references of letters and digits are not looked at twice."""

SIGNS = {"payment": 1, "refund": -1, "reversal": -1}


class Unreadable(Exception):
    """This row cannot be read: which field, and what it must be."""

    def __init__(self, field: str, issue: str) -> None:
        super().__init__(issue)
        self.field, self.issue = field, issue


ReadRow = Callable[[int, Sequence[str]], Line]


def row_reader(mapping: StatementMapping, header: Sequence[str]) -> ReadRow:
    """A reader for rows under ``header``. Raises ``Unreadable`` where a column of the mapping is not there."""
    places: dict[str, int] = {}
    for name, column in mapping.columns.items():
        if header.count(column) != 1:
            raise Unreadable(column, f"The file must have exactly one column of this name for {name}")
        places[name] = header.index(column)
    kinds: dict[str, str] = {word.casefold(): kind for word, kind in mapping.kinds.items()}
    settled = {word.casefold() for word in mapping.settled_words}
    dates = {places[name] for name in ("at", "on") if name in places}

    def cell(cells: Sequence[str], name: str) -> str:
        return cells[places[name]].strip() if name in places else ""

    def read(line_number: int, cells: Sequence[str]) -> Line:
        if len(cells) != len(header):
            raise Unreadable("line", f"Must have {len(header)} columns, and has {len(cells)}")
        refuse_card_data(cells, dates)
        currency = _currency(cell(cells, "currency") or mapping.currency or "")
        amount = _amount(cell(cells, "amount"), currency, mapping, field="amount")
        kind = _kind(cell(cells, "kind"), kinds) if "kind" in places else _kind_of_sign(amount)
        fee = cell(cells, "fee")
        ours, theirs = _reference(cell(cells, "our_reference")), _reference(cell(cells, "provider_reference"))
        if ours is None and theirs is None:
            raise Unreadable("our_reference", "Must have our reference or the provider's")
        return Line(
            line_number=line_number,
            kind=kind,
            is_settled="status" not in places or cell(cells, "status").casefold() in settled,
            our_reference=ours,
            provider_reference=theirs,
            amount=_signed(amount, kind, mapping),
            currency=currency,
            fee=_amount(fee, currency, mapping, field="fee") if fee else None,
            occurred_at=_instant(cell(cells, "at")),
            occurred_on=_day(cell(cells, "on")),
        )

    return read


def try_row(read: ReadRow, line_number: int, cells: Sequence[str]) -> Line | BadLine:
    """The line, or why there is none."""
    try:
        return read(line_number, cells)
    except Unreadable as why:
        return BadLine(line_number, why.field, why.issue)


def refuse_card_data(cells: Sequence[str], exempt: set[int]) -> None:
    """Raise ``Unreadable`` where a cell could be a card number; the columns ``exempt`` are dates, which are parsed."""
    if not _SUSPICIOUS.search(",".join(cells)):
        return
    for index, value in enumerate(cells):
        if index not in exempt and _SUSPICIOUS.search(value) and looks_like_card_data(value):
            raise Unreadable("line", ISSUE)


def _currency(value: str) -> str:
    if value not in currencies():
        raise Unreadable("currency", "Must be the ISO 4217 code of a currency in use, for example JPY")
    return value


def _amount(value: str, currency: str, mapping: StatementMapping, *, field: str) -> int:
    if mapping.amounts == "major":
        return _minor_of(value, currency, field=field)
    if not _WHOLE.fullmatch(value):
        raise Unreadable(field, "Must be a whole number of minor units")
    return _bounded(int(value), field)


def _minor_of(value: str, currency: str, *, field: str) -> int:
    if not _DECIMAL.fullmatch(value):
        raise Unreadable(field, "Must be a decimal number, for example 1,050.25")
    minor = Decimal(value.replace(",", "")).scaleb(exponent(currency))
    if minor != minor.to_integral_value():
        raise Unreadable(field, f"Must have at most {exponent(currency)} decimal places")
    return _bounded(int(minor), field)


def _bounded(amount: int, field: str) -> int:
    if abs(amount) > MAX_MOVED:  # so that no file can bring a sum over a bigint's end
        raise Unreadable(field, f"Must be at most {MAX_MOVED}")
    return amount


def _kind(word: str, kinds: dict[str, str]) -> str:
    found = kinds.get(word.casefold())
    if found is None:
        raise Unreadable("kind", f"Must be one of {', '.join(kinds)}")
    return found


def _kind_of_sign(amount: int) -> str:
    return "refund" if amount < 0 else "payment"


def _signed(amount: int, kind: str, mapping: StatementMapping) -> int:
    if mapping.signs == "signed" or "kind" not in mapping.columns:
        return amount
    if amount < 0:
        raise Unreadable("amount", "Must not be negative, since the kind says which way; or declare signs: signed")
    return amount * SIGNS[kind]


def _reference(value: str) -> str | None:
    if len(value) > MAX_REFERENCE or not value.isprintable():
        raise Unreadable("our_reference", f"References must be printable and at most {MAX_REFERENCE} characters long")
    return value or None


def _instant(value: str) -> str | None:
    if not value:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise Unreadable("at", "Must be an instant, for example 2026-11-23T03:15:02Z") from None
    if instant.tzinfo is None:
        raise Unreadable("at", "Must say its offset from UTC, for example +09:00")
    return instant.isoformat()  # Python reads spellings that PostgreSQL does not


def _day(value: str) -> str | None:
    if not value:
        return None
    parts = _DAY.fullmatch(value)
    try:
        if parts is None:
            raise ValueError
        return date(int(parts[1]), int(parts[2]), int(parts[3])).isoformat()
    except ValueError:
        raise Unreadable("on", "Must be a day, for example 2026-11-23") from None
