"""Query parameters that filter lists of payments and refunds."""

from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas.patterns import LAST_4_PATTERN
from api.schemas.query_types import Flag, Instant, Text80, Text100, Text200, WholeNumber
from workflows.money import MAX_MOVED
from workflows.payments.queries import PaymentFilter
from workflows.payments.states import PaymentStatus
from workflows.refunds.queries import RefundFilter
from workflows.refunds.states import RefundStatus

AmountBound = Annotated[WholeNumber, Field(ge=0, le=MAX_MOVED)]


class MoneyQuery(BaseModel):
    """The filters that payments and refunds share. A row must match all that are given."""

    store_id: Text80 | None = None
    needs_review: Annotated[
        Flag | None, Field(description="Whether it waits for a person, as completed payments may too")
    ] = None
    outcome_known: Annotated[Flag | None, Field(description="`false`: only those in doubt")] = None
    overdue: Annotated[
        Flag | None, Field(description="Whether it has been due for more than a minute, as `mpac_overdue` counts")
    ] = None
    provider: Annotated[
        Text80 | None, Field(description="The name of a provider; `cash` and `external` are providers, too")
    ] = None
    provider_reference: Annotated[Text200 | None, Field(description="The provider's own reference")] = None
    amount_from: Annotated[
        AmountBound | None,
        Field(description="The smallest `amount`, in minor units of any currency, without the tip"),
    ] = None
    amount_to: Annotated[AmountBound | None, Field(description="The largest `amount`, inclusive")] = None
    created_from: Instant | None = None
    created_to: Annotated[Instant | None, Field(description="Exclusive")] = None


class PaymentQuery(MoneyQuery):
    """The filters of a list of payments."""

    status: PaymentStatus | None = None
    device_id: Text80 | None = None
    bill_id: Text80 | None = None
    client_reference: Text100 | None = None
    card_last_4: Annotated[str | None, Field(pattern=LAST_4_PATTERN, description="The card's last four digits")] = None

    def to_filter(self) -> PaymentFilter:
        """Convert to the use-case's ``PaymentFilter``."""
        return PaymentFilter(**self.__dict__)


class RefundQuery(MoneyQuery):
    """The filters of a list of refunds."""

    status: RefundStatus | None = None
    payment_id: Text80 | None = None
    needs_action: Annotated[
        Flag | None, Field(description="Only refunds that a person has to carry out and report")
    ] = None

    def to_filter(self) -> RefundFilter:
        """Convert to the use-case's ``RefundFilter``."""
        return RefundFilter(**self.__dict__)
