"""Read refunds, and render a refund as the fields of the API's contract."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement

from workflows.payments.archived import explains_archived
from workflows.payments.queries import require_payment
from workflows.refunds.models import Refund, RefundRow
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.gathered_reads import GatheredReads, read_statement
from workflows.tenants.query_helpers import MoneyFilter, equal_filters
from workflows.tenants.walk import Walk, read_page, stores_named


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundFilter(MoneyFilter):
    """The filter of a list of refunds. ``None`` means any value."""

    status: str | None = None
    store_id: str | None = None
    payment_id: str | None = None
    needs_action: bool | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the filter as conditions of a WHERE clause. Raises as ``conditions_on`` does.

        The store is missing, because the list is read from its index.
        """
        return [*equal_filters(Refund, self, "status", "payment_id", "needs_action"), *self.conditions_on(Refund)]

    def has_own_index(self) -> bool:
        """Return whether an index finds the few rows that can meet the filter."""
        return self.has_index_of_both() or bool(self.payment_id or self.needs_action)


_READ = read_statement("SELECT r.* FROM refunds r WHERE r.id = i.id")

RefundReads = GatheredReads[RefundRow]
"""The reads of refunds by id."""


def refund_reads(*, timeout_seconds: float) -> RefundReads:
    """Return the reads of refunds of this process."""
    return GatheredReads(_READ, build=lambda row: cast(RefundRow, dict(row)), timeout_seconds=timeout_seconds)


async def list_refunds(wanted: RefundFilter, *, caller: Caller, limit: int, before: str | None) -> list[RefundRow]:
    """Return up to ``limit`` refunds, newest first, older than the id ``before``."""
    walk = Walk(
        model=Refund,
        caller=caller,
        conditions=wanted.conditions(),
        stores=stores_named(wanted.store_id, caller),
        is_selective=wanted.has_own_index(),
        created=(wanted.created_from, wanted.created_to),
    )
    async with caller_transaction(caller) as connection:
        return cast(list[RefundRow], await read_page(connection, walk, limit=limit, before=before))


@explains_archived
async def list_refunds_of(payment_id: str, *, caller: Caller, limit: int, before: str | None) -> list[RefundRow]:
    """Return refunds of one payment. Raises ``ResourceNotFound`` if the caller may not see the payment."""
    async with caller_transaction(caller) as connection:
        await require_payment(connection, payment_id, caller)
    return await list_refunds(RefundFilter(payment_id=payment_id), caller=caller, limit=limit, before=before)


FIELDS = (
    "id",
    "payment_id",
    "status",
    "version",
    "amount",
    "currency",
    "reason",
    "staff_code",
    "provider",
    "provider_reference",
    "failure_code",
    "failure_message",
    "outcome_known",
    "needs_review",
    "needs_action",
    "report",
    "settlement_id",
    "store_id",
    "merchant_id",
    "metadata",
    "created_at",
    "reported_at",
    "processing_at",
    "completed_at",
    "failed_at",
)
"""The fields of a refund in answers, in this order."""


def refund_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``row`` as the fields of the contract. Columns that ``row`` does not have are null."""
    return {name: row.get(name) for name in FIELDS}
