"""Filters that the lists of payments and refunds share."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, literal_column, not_

from workflows.database.mixins import OVERDUE
from workflows.errors import Detail, MalformedRequest
from workflows.tenants.query_helpers import equal_filters, in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyFilter:
    """Which payments or refunds to list; ``None`` means any. Both ends of the amount range are included."""

    needs_review: bool | None = None
    outcome_known: bool | None = None
    overdue: bool | None = None
    provider: str | None = None
    provider_reference: str | None = None
    amount_from: int | None = None
    amount_to: int | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None

    def conditions_on(self, model: Any) -> list[ColumnElement[bool]]:
        """Return the conditions for a WHERE on ``model``.

        Raises ``MalformedRequest`` if a range ends before it begins. Flags are constants of the statement, not parameters,
        because partial indexes are used for constants only.
        """
        found = equal_filters(model, self, "needs_review", "outcome_known", "provider", "provider_reference")
        if self.overdue is not None:
            is_overdue: ColumnElement[bool] = literal_column(f"coalesce({OVERDUE}, false)")
            found.append(literal_column(f"({OVERDUE})") if self.overdue else not_(is_overdue))
        if self.amount_from is not None and self.amount_to is not None and self.amount_from > self.amount_to:
            raise MalformedRequest(Detail("amount_from", "Must not be above amount_to"))
        if self.amount_from is not None:
            found.append(model.amount >= self.amount_from)
        if self.amount_to is not None:
            found.append(model.amount <= self.amount_to)
        return [*found, *in_range(model.created_at, self.created_from, self.created_to)]
