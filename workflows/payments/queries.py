"""Read payments and their timelines, and render a payment as the fields of the API's contract.

The answer of an accept is stored beside its key and repeated byte for byte, so the domain renders it, not the web framework.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.months import MARK
from workflows.devices.models import Device
from workflows.errors import ResourceNotFound
from workflows.payments.archived import explain_missing
from workflows.payments.models import (
    CLIENT_REFERENCES,
    Payment,
    PaymentAttempt,
    PaymentHistory,
    PaymentMessage,
)
from workflows.payments.states import Advice
from workflows.tenants.caller import Caller, Scope, caller_transaction
from workflows.tenants.gathered_pages import GatheredPages, page_statement
from workflows.tenants.gathered_reads import GatheredReads, read_statement
from workflows.tenants.models import Merchant
from workflows.tenants.paging import check_cursor
from workflows.tenants.query_helpers import MoneyFilter, equal_filters, one_row
from workflows.tenants.scope import PROGRESS, visible_to
from workflows.tenants.walk import Walk, read_page, stores_named


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFilter(MoneyFilter):
    """The filter of a list of payments. ``None`` means any value."""

    status: str | None = None
    store_id: str | None = None
    device_id: str | None = None
    bill_id: str | None = None
    client_reference: str | None = None
    card_last_4: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the filter as conditions of a WHERE clause. Raises as ``conditions_on`` does.

        The store is missing, because the list is read from its index.
        """
        equal = ("status", "device_id", "bill_id", "card_last_4")
        return [*equal_filters(Payment, self, *equal), *self.conditions_on(Payment)]

    def has_own_index(self) -> bool:
        """Return whether an index finds the few rows that can meet the filter."""
        return self.has_index_of_both() or any((self.bill_id, self.client_reference, self.card_last_4))


EVERYTHING = PaymentFilter()
"""The filter that every payment meets."""


async def list_payments(
    wanted: PaymentFilter, *, caller: Caller, limit: int, before: str | None, pages: GatheredPages | None = None
) -> Sequence[Mapping[str, Any]]:
    """Return up to ``limit`` payments, newest first, older than the id ``before``.

    ``pages`` read the payments of a caller's own store, if there is no filter.
    """
    if pages is not None and wanted == EVERYTHING and caller.scope is Scope.STORE:
        check_cursor(Payment, before)
        return await pages.read(caller=caller, limit=limit, before=before)
    conditions, stores = wanted.conditions(), stores_named(wanted.store_id, caller)
    if wanted.client_reference is not None:
        conditions.append(Payment.id.in_(_named(wanted.client_reference, caller)))
    if wanted.device_id is not None and stores is None:
        stores = select(Device.store_id.label("id")).where(
            Device.id == wanted.device_id, *visible_to(caller, Device.merchant_id, Device.store_id)
        )
    walk = Walk(
        model=Payment,
        caller=caller,
        conditions=conditions,
        stores=stores,
        is_selective=wanted.has_own_index(),
        created=(wanted.created_from, wanted.created_to),
    )
    async with caller_transaction(caller) as connection:
        return await read_page(connection, walk, limit=limit, before=before)


def _named(reference: str, caller: Caller) -> Select[tuple[str]]:
    """Return the statement of the payments with this ``client_reference``: at most one of each merchant."""
    names = CLIENT_REFERENCES.c
    of_caller = visible_to(caller, names.merchant_id)
    if caller.scope is Scope.SYSTEM:
        of_caller = [names.merchant_id.in_(select(Merchant.id))]  # the index begins with the merchant
    return select(names.payment_id).where(names.client_reference == reference, *of_caller)


async def read_timeline(payment_id: str, *, caller: Caller) -> list[dict[str, Any]]:
    """Return the events of a payment, oldest first.

    The events are transitions, attempts and (redacted) provider messages.
    """
    async with caller_transaction(caller) as connection:
        await require_payment(connection, payment_id, caller)
        history = select(PaymentHistory.__table__).where(PaymentHistory.payment_id == payment_id)
        attempts = select(PaymentAttempt.__table__).where(PaymentAttempt.payment_id == payment_id)
        messages = select(PaymentMessage.__table__).where(PaymentMessage.payment_id == payment_id)
        attempt_rows = (await connection.execute(attempts.order_by(PaymentAttempt.number))).mappings().all()
        message_rows = (await connection.execute(messages.order_by(PaymentMessage.number))).mappings().all()
        history_rows = (await connection.execute(history.order_by(PaymentHistory.version))).mappings().all()
    return merge_events(
        [event for row in attempt_rows for event in attempt_events(dict(row))],
        [message_event(dict(row)) for row in message_rows],
        [transition_event(dict(row)) for row in history_rows],
    )


def merge_events(*lists: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge event lists by time, without changing the order within any list.

    Times may run backwards within a list, because the database's clock may have been set back between two versions.
    """
    placed = []
    for events in lists:
        latest = None
        for event in events:
            latest = event["at"] if latest is None else max(latest, event["at"])
            placed.append((latest, event))
    return [event for _, event in sorted(placed, key=lambda pair: pair[0])]


async def require_payment(connection: AsyncConnection, payment_id: str, caller: Caller) -> None:
    """Raise ``ResourceNotFound`` if the caller may not see this payment."""
    conditions = visible_to(caller, Payment.merchant_id, Payment.store_id)
    await one_row(connection, select(Payment.id).where(Payment.id == payment_id, *conditions))


def transition_event(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of history as an entry of a timeline."""
    names = ("at", "version", "event", "from_status", "to_status", "caller_type", "caller_id", "reason", "request_id")
    kind = "transition" if row["from_status"] != row["to_status"] else "remark"
    return {"type": kind, **{name: row[name] for name in names}}


def attempt_events(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an attempt as one entry if it was only sent, or as two if it was also answered."""
    base = {"number": row["number"], "provider": row["provider"], "reference": row["reference"]}
    sent = {"type": "attempt_sent", "at": row["sent_at"], **base, "resends": row["resends"]}
    if row["answered_at"] is None:
        return [sent]
    names = ("outcome", "provider_reference", "code", "message")
    return [sent, {"type": "attempt_answered", "at": row["answered_at"], **base, **{name: row[name] for name in names}}]


def message_event(row: dict[str, Any]) -> dict[str, Any]:
    """Return an inquiry, withdrawal or late answer as an entry of a timeline."""
    names = ("at", "attempt", "kind", "answer", "detail")
    return {"type": "provider_message", **{name: row[name] for name in names}}


FIELDS = (
    "id",
    "status",
    "version",
    "amount",
    "tip_amount",
    "currency",
    "captured_amount",
    "refunded_amount",
    "method",
    "processing_mode",
    "provider",
    "provider_reference",
    "approval_code",
    "card_brand",
    "card_last_4",
    "cash_received",
    "change_amount",
    "bill_id",
    "order_id",
    "device_id",
    "store_id",
    "merchant_id",
    "client_reference",
    "next_action",
    "failure_code",
    "failure_message",
    "cancel_requested_at",
    "cancel_reason",
    "cancel_outcome",
    "outcome_known",
    "advice",
    "needs_review",
    "needs_action",
    "settlement_id",
    "metadata",
    "expires_at",
    "created_at",
    "processing_at",
    "completed_at",
    "failed_at",
    "cancelled_at",
    "refunded_at",
)
"""The fields of a payment in answers, in this order."""


def payment_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``row`` as the fields of the contract. Columns that ``row`` does not have are null."""
    get = row.get
    fields = dict(zip(FIELDS, map(get, FIELDS), strict=True))  # a page renders fifty, so the loop is the interpreter's
    fields["method"] = {"type": row["method_type"], "mode": get("method_mode")}
    fields["advice"] = None if get("outcome_known", True) else Advice.DO_NOT_CHARGE_AGAIN
    if row["processing_mode"] != "provider":
        # A reported sale does not expire; its column only limits how soon it must be recorded (I9).
        fields["expires_at"] = None
    return fields


_SPECIAL = ("method", "advice")
"""Fields of the contract that are not columns."""
_COLUMNS = (*(name for name in FIELDS if name not in _SPECIAL), "method_type", "method_mode", *PROGRESS)
_SHOWN = ", ".join(f"r.{name}" for name in _COLUMNS)
_READ = read_statement(f"SELECT {_SHOWN} FROM payments{MARK} r WHERE r.id = i.id")
_PAGE = page_statement("payments", _SHOWN)


class PaymentReads(GatheredReads[Mapping[str, Any]]):
    """The reads of payments by id. Their rows have the columns that ``payment_fields`` and ``with_progress`` show."""

    async def read(self, entity_id: str, *, caller: Caller) -> Mapping[str, Any]:
        """Return the row of a payment, as ``GatheredReads.read`` does.

        The error says whether the payment may have been archived.
        """
        try:
            return await super().read(entity_id, caller=caller)
        except ResourceNotFound as error:
            raise await explain_missing(entity_id, error) from error


def payment_reads(*, timeout_seconds: float) -> PaymentReads:
    """Return the reads of payments of this process."""
    return PaymentReads(_READ, build=dict, timeout_seconds=timeout_seconds)


def payment_pages(*, timeout_seconds: float) -> GatheredPages:
    """Return the pages of payments of this process."""
    return GatheredPages(_PAGE, timeout_seconds=timeout_seconds)
