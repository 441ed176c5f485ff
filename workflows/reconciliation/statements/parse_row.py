"""Parse one row of a provider's file strictly.

A value that does not follow the mapping is refused, never repaired. A status, kind or currency that the mapping does not know
refuses the file too, because moved money could otherwise be taken for money that did not move. The mapping is evaluated only
once per file, because a file may have a million rows.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from operator import itemgetter
from typing import TypeVar

from workflows.card_data import ISSUE, looks_like_card_data
from workflows.money import currencies
from workflows.providers.statement_mapping import StatementMapping
from workflows.reconciliation.statements.amounts import amount_reader, quote_cell
from workflows.reconciliation.statements.lines import BadLine, ParsedLine, UnreadableStatement
from workflows.reconciliation.statements.masking import CardDataScan

MAX_REFERENCE = 200
_DAY = re.compile(r"([0-9]{4})[-/]?([0-9]{2})[-/]?([0-9]{2})")

SIGNS = {"payment": 1, "refund": -1, "reversal": -1}
DATES = ("at", "on")
"""Fields that are parsed completely, so that their digits need no search for card data."""

Known = TypeVar("Known", str, bool)
ReadRow = Callable[[int, Sequence[str]], ParsedLine]


def row_reader(mapping: StatementMapping, header: Sequence[str], scan: CardDataScan | None = None) -> ReadRow:
    """Return the parser of rows under ``header``.

    Raises ``UnreadableStatement`` if the header lacks a column of ``mapping``. Card data in a mapped column refuses the row;
    in any other column it is only recorded in ``scan``.
    """
    indexes = _column_indexes(mapping, header)
    scan = scan or CardDataScan()
    kinds = _kinds(mapping)
    # A value in both lists counts as moved, so that the mistake appears as a break.
    moved = {_fold_case(value): False for value in mapping.unsettled_words} | {
        _fold_case(value): True for value in mapping.settled_words
    }
    examined = [(name, index) for name, index in indexes.items() if name not in DATES]
    dates = {indexes[name] for name in DATES if name in indexes} - {index for _, index in examined}
    undated = [index for index in range(len(header)) if index not in dates]
    to_examine = itemgetter(*undated, undated[0])  # at least two indexes, so that it returns a tuple
    amount_of = amount_reader(mapping)

    def cell(cells: Sequence[str], name: str) -> str:
        value = cells[indexes[name]] if name in indexes else ""
        return value.strip() if type(value) is str else value

    def read(line_number: int, cells: Sequence[str]) -> ParsedLine:
        if len(cells) != len(header):
            raise UnreadableStatement("line", f"Must have {len(header)} columns, and has {len(cells)}")
        if scan.scan_row(to_examine(cells)):
            _refuse_card_data(cells, examined, header)
        currency = _currency(cell(cells, "currency") or mapping.currency or "")
        amount = amount_of(cell(cells, "amount"), currency, "amount")
        kind = _look_up(cell(cells, "kind"), kinds, "kind", "kinds") if "kind" in indexes else _kind_of_sign(amount)
        fee = cell(cells, "fee")
        ours, theirs = (_reference(cell(cells, name), name) for name in ("our_reference", "provider_reference"))
        if ours is None and theirs is None:
            raise UnreadableStatement("our_reference", "Must have our reference or the provider's")
        return ParsedLine(
            line_number=line_number,
            kind=kind,
            is_settled="status" not in indexes
            or _look_up(cell(cells, "status"), moved, "status", "settled_words or unsettled_words"),
            our_reference=ours,
            provider_reference=theirs,
            amount=_signed(amount, kind, mapping),
            currency=currency,
            fee=amount_of(fee, currency, "fee") if fee else None,
            occurred_at=_instant(cell(cells, "at")),
            occurred_on=_day(cell(cells, "on")),
        )

    return read


def _column_indexes(mapping: StatementMapping, header: Sequence[str]) -> dict[str, int]:
    """Return the index of each field's column in ``header``.

    Raises ``UnreadableStatement`` if a column is missing or not unique.
    """
    for name, column in mapping.columns.items():
        if header.count(column) != 1:
            raise UnreadableStatement(column, f"The file must have exactly one column of this name for {name}")
    return {name: header.index(column) for name, column in mapping.columns.items()}


def try_row(read: ReadRow, line_number: int, cells: Sequence[str]) -> ParsedLine | BadLine:
    """Return the parsed line, or the reason why it cannot be parsed."""
    try:
        return read(line_number, cells)
    except UnreadableStatement as why:
        return BadLine(line_number, why.field, why.issue, why.value)


def _refuse_card_data(cells: Sequence[str], examined: Sequence[tuple[str, int]], header: Sequence[str]) -> None:
    """Raise ``UnreadableStatement`` if a mapped cell could be a card number. Other cells are masked later."""
    for name, index in examined:
        if looks_like_card_data(cells[index]):
            raise UnreadableStatement(name, f"{ISSUE} (column {quote_cell(header[index])})")


def _kinds(mapping: StatementMapping) -> dict[str, str]:
    kinds: dict[str, str] = {}
    for value, kind in mapping.kinds.items():
        if kinds.setdefault(_fold_case(value), kind) != kind:
            raise UnreadableStatement(
                "mapping", f"{quote_cell(value)} must be one kind; upper and lower case are the same value"
            )
    return kinds


def _fold_case(value: str) -> str:
    """Return a value in lower case.

    A character that does not survive the conversion to lower case and back is unchanged: the Kelvin sign is not a k, and the
    long s (U+017F) is not an s.
    """
    value = value.strip()
    if value.isascii():
        return value.lower()
    return "".join(character.lower() if character.lower().upper() == character else character for character in value)


def _look_up(value: str, known: Mapping[str, Known], field: str, where: str) -> Known:
    plain = _fold_case(value)
    found = known.get(plain)
    if found is None:
        raise UnreadableStatement(
            field, f"{quote_cell(value)} is not known; declare it in {where} of the mapping", value=plain
        )
    return found


def _currency(value: str) -> str:
    if value not in currencies():
        issue = f"{quote_cell(value)} is not the ISO 4217 code of a currency in use, for example JPY"
        raise UnreadableStatement("currency", issue, value=value)
    return value


def _kind_of_sign(amount: int) -> str:
    return "refund" if amount < 0 else "payment"


def _signed(amount: int, kind: str, mapping: StatementMapping) -> int:
    if mapping.signs == "signed" or "kind" not in mapping.columns:
        return amount
    if amount < 0:
        raise UnreadableStatement(
            "amount", "Must not be negative, because the kind gives the sign; or declare signs: signed"
        )
    return amount * SIGNS[kind]


def _reference(value: str, field: str) -> str | None:
    if len(value) > MAX_REFERENCE or not value.isprintable():
        raise UnreadableStatement(field, f"References must be printable and at most {MAX_REFERENCE} characters long")
    return value or None


def _instant(value: str) -> str | None:
    if not value:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise UnreadableStatement("at", "Must be a timestamp, for example 2026-11-23T03:15:02Z") from None
    if instant.tzinfo is None:
        raise UnreadableStatement("at", "Must have an offset from UTC, for example +09:00")
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
        raise UnreadableStatement("on", "Must be a date, for example 2026-11-23") from None
