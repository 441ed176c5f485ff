"""Bodies of requests and answers about orders."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator
from typing_extensions import TypeAliasType

from api.schemas.base import Body, Id, Part, Printable, unset
from api.schemas.base import Currency as CurrencyIn
from api.schemas.base import Version as VersionIn
from api.schemas.integer_types import Currency, Cursor, Minor, Version
from api.schemas.patterns import RATE_PATTERN
from workflows.errors import Detail, InvalidRequest
from workflows.money import MAX_AMOUNT
from workflows.orders.change import OrderChange
from workflows.orders.create import OrderRequest
from workflows.orders.states import OrderStatus
from workflows.orders.totals import OrderLine

MAX_ITEMS = 200  # fits into the largest body, and onto a terminal's screen
MAX_QUANTITY = 99_999

OrderTypeIn = Literal["dine_in", "takeaway", "delivery"]
OrderType = TypeAliasType("OrderType", OrderTypeIn)
TableNumber = Annotated[Printable, Field(max_length=50)]
Discount = Annotated[
    int,
    Field(
        ge=0, le=MAX_AMOUNT, description="Deducted from the whole order before tax, minor units; at most the subtotal"
    ),
]


class ItemIn(Part):
    """One line of an order."""

    name: Annotated[Printable, Field(max_length=200)]
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)]
    unit_price: Annotated[int, Field(ge=0, le=MAX_AMOUNT, description="Minor units, without tax")]
    tax_rate: Annotated[
        str,
        Field(
            pattern=RATE_PATTERN,
            description="A fraction as a decimal string, never a float",
            examples=["0.08", "0.10"],
        ),
    ]

    def comparison_fields(self) -> dict[str, Any]:
        """Return the fields with a normalised tax rate, so that ``0.1`` and ``0.10`` are equal."""
        return {**self.__dict__, "tax_rate": str(Decimal(self.tax_rate).normalize())}

    def to_line(self) -> OrderLine:
        """Convert to the use-case's ``OrderLine``."""
        return OrderLine(self.name, self.quantity, self.unit_price, Decimal(self.tax_rate))


Items = Annotated[list[ItemIn], Field(min_length=1, max_length=MAX_ITEMS)]


class OrderIn(Body):
    """An order to record. The server computes its totals."""

    order_type: OrderTypeIn
    table_number: TableNumber | None = None
    items: Items
    discount_amount: Discount = 0
    currency: Annotated[CurrencyIn | None, Field(description="The default is the store's own currency")] = None
    submit: Annotated[bool, Field(description="Create the order open rather than as a draft")] = False
    store_id: Annotated[Id | None, Field(description="Only for callers above store level")] = None

    def to_request(self) -> OrderRequest:
        """Convert to the use-case's ``OrderRequest``."""
        return OrderRequest(
            order_type=self.order_type,
            lines=tuple(item.to_line() for item in self.items),
            table_number=self.table_number,
            discount_amount=self.discount_amount,
            currency=self.currency,
            is_submitted=self.submit,
            store_id=self.store_id,
        )


class OrderPatch(Body):
    """The fields to change; omitted fields are not changed.

    Items are replaced as a whole, so `version` is required with them.
    """

    version: Annotated[
        VersionIn | None,
        Field(description="The version you have read. Required with `items`; 409 with the current one if it is stale"),
    ] = None
    order_type: OrderTypeIn = Field(default_factory=unset)
    table_number: TableNumber | None = None
    items: Items = Field(default_factory=unset)
    discount_amount: Discount = Field(default_factory=unset)

    @model_validator(mode="after")
    def _items_of_a_version(self) -> Self:
        if "items" in self.model_fields_set and self.version is None:
            issue = "Required if items change; send the version of the order that you have read"
            raise InvalidRequest(Detail("version", issue))
        return self

    def to_change(self) -> OrderChange:
        """Convert to the use-case's ``OrderChange``."""
        given = self.model_fields_set
        return OrderChange(
            lines=tuple(item.to_line() for item in self.items) if "items" in given else None,
            discount_amount=self.discount_amount if "discount_amount" in given else None,
            particulars={name: getattr(self, name) for name in ("order_type", "table_number") if name in given},
            version=self.version,
        )


class ItemOut(BaseModel):
    """One line of an order."""

    id: str
    name: str
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)]
    unit_price: Minor
    tax_rate: Annotated[
        str, Field(pattern=RATE_PATTERN, description="A fraction as a decimal string", examples=["0.08"])
    ]
    subtotal: Minor


class OrderOut(BaseModel):
    """An order."""

    id: str
    order_number: str
    order_type: OrderType
    table_number: str | None
    status: OrderStatus
    currency: Currency
    items: list[ItemOut]
    subtotal: Minor
    tax_amount: Minor
    discount_amount: Minor
    total_amount: Minor
    bill_ids: list[str]
    device_id: str | None
    store_id: str
    merchant_id: str
    version: Version
    created_at: datetime
    updated_at: datetime
    submitted_at: datetime | None
    paid_at: datetime | None
    completed_at: datetime | None
    cancelled_at: datetime | None


class OrdersOut(BaseModel):
    """A page of orders, newest first."""

    data: list[OrderOut]
    next_cursor: Cursor
