"""Every row type has exactly the columns of its table or statement.

``mypy`` checks the keys that the code reads against these types, so a type that differs from the database would hide an
error. To test a new row type, add a line to ``TABLES`` or ``STATEMENTS``.
"""

import re
from datetime import date, datetime, time
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from sqlalchemy import BigInteger, Boolean, Column, Date, Integer, LargeBinary, Numeric, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIME, TIMESTAMP

from workflows.bills.models import Bill, BillRow
from workflows.devices.models import Device, DeviceRow
from workflows.orders.models import Order, OrderItem, OrderItemRow, OrderRow
from workflows.payments import record as payment_record
from workflows.payments.models import ClaimedPayment, Payment, PaymentRow, RecordedPayment
from workflows.processing.shared_statements import LEASE_COLUMNS
from workflows.reconciliation.models import Break, BreakRow, ReconciliationRun, RunRow, StatementRow
from workflows.reconciliation.statements.models import Statement
from workflows.refunds import record as refund_record
from workflows.refunds import request as refund_request
from workflows.refunds.models import ClaimedRefund, FinalRefund, LockedPayment, RecordedRefund, Refund, RefundRow
from workflows.refunds.workload import PAYMENTS, REFUNDS
from workflows.settlements.models import Settlement, SettlementFigures, SettlementLine, SettlementLineRow, SettlementRow
from workflows.tenants.models import Merchant, MerchantRow, Store, StoreProvider, StoreProviderRow, StoreRow

TABLES = [
    (PaymentRow, Payment.__table__),
    (RefundRow, Refund.__table__),
    (OrderRow, Order.__table__),
    (OrderItemRow, OrderItem.__table__),
    (BillRow, Bill.__table__),
    (DeviceRow, Device.__table__),
    (MerchantRow, Merchant.__table__),
    (StoreRow, Store.__table__),
    (StoreProviderRow, StoreProvider.__table__),
    (SettlementRow, Settlement.__table__),
    (SettlementLineRow, SettlementLine.__table__),
    (BreakRow, Break.__table__),
    (RunRow, ReconciliationRun.__table__),
    (StatementRow, Statement.__table__),
]
"""Row types with the table whose columns, with their types, they must have."""

STATEMENTS = [
    (ClaimedPayment, f"SELECT {LEASE_COLUMNS}, {PAYMENTS.columns}, r.store_id FROM claimed"),
    (ClaimedRefund, f"SELECT {LEASE_COLUMNS}, {REFUNDS.columns}, r.store_id FROM claimed"),
    (RecordedPayment, str(payment_record._RECORD)),
    (RecordedRefund, str(refund_record._RECORD)),
    (FinalRefund, str(refund_record._RECORD)),
    (LockedPayment, str(refund_request._LOCK)),
]
"""Row types with the statement whose last SELECT returns such rows."""

PYTHON: dict[type, type] = {
    Text: str,
    BigInteger: int,
    Integer: int,
    Boolean: bool,
    Numeric: Decimal,
    LargeBinary: bytes,
    TIMESTAMP: datetime,
    TIME: time,
    Date: date,
    JSONB: dict,
    ARRAY: list,
}


def columns_of(table: Any) -> dict[str, tuple[type, bool]]:
    """Return each column's Python type, and whether it is nullable."""
    columns: list[Column[Any]] = list(table.columns)
    return {column.name: (PYTHON[type(column.type)], bool(column.nullable)) for column in columns}


def fields_of(row: type) -> dict[str, tuple[type, bool]]:
    """Return each field's type, and whether it may be ``None``."""
    found = {}
    for name, hint in get_type_hints(row).items():
        options = get_args(hint) if get_origin(hint) is UnionType else (hint,)
        (kind,) = (option for option in options if option is not NoneType)
        found[name] = (dict if is_typeddict(kind) else get_origin(kind) or kind, NoneType in options)
    return found


def selected(statement: str) -> set[str]:
    """Return the column names of the last SELECT of ``statement``, without calls of ``pg_notify``."""
    statement = re.sub(r"--.*", "", statement)
    depth, start = 0, 0
    for place, letter in enumerate(statement):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and statement.startswith("SELECT", place):
            start = place + len("SELECT")
    names, depth, item = set(), 0, ""
    for word in re.split(r"([(),]|\bFROM\b)", statement[start:]):
        depth += (word == "(") - (word == ")")
        if depth == 0 and word in (",", "FROM"):
            if "pg_notify" not in item:
                names.add(item.rsplit(maxsplit=1)[-1].rpartition(".")[2])
            item = ""
            if word == "FROM":
                return names
        else:
            item += word
    raise ValueError(f"no FROM in {statement}")


@pytest.mark.parametrize(("row", "table"), TABLES, ids=lambda one: getattr(one, "__name__", ""))
def test_row_type_has_the_columns_of_its_table(row: type, table: Table) -> None:
    assert fields_of(row) == columns_of(table)


@pytest.mark.parametrize(("row", "statement"), STATEMENTS, ids=lambda one: getattr(one, "__name__", ""))
def test_row_type_has_the_columns_of_its_statement(row: type, statement: str) -> None:
    assert set(get_type_hints(row)) == selected(statement)


def test_columns_of_subqueries_and_expressions_are_found_by_alias() -> None:
    statement = "WITH x AS (SELECT 1 FROM y) SELECT a.b, (SELECT c FROM d) AS e, f - g AS h, pg_notify('i', 'j') FROM x"
    assert selected(statement) == {"b", "e", "h"}


def test_frozen_figures_are_columns_of_a_settlement() -> None:
    assert set(get_type_hints(SettlementFigures)) < set(get_type_hints(SettlementRow))
