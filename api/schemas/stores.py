"""Bodies of requests and answers about stores."""

from datetime import datetime, time
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from api.schemas.base import Body, Id, Printable, unset
from api.schemas.base import Currency as CurrencyIn
from api.schemas.integer_types import Currency, Cursor
from api.schemas.patterns import TIME_PATTERN
from workflows.tenants.stores import StoreRequest
from workflows.time_zones import offered_zones

Name = Annotated[Printable, Field(max_length=100)]


def _check_zone(value: str) -> str:
    if value not in offered_zones():
        raise ValueError("Must be the IANA name of a time zone, for example Asia/Tokyo")
    return value


TimeZone = Annotated[str, AfterValidator(_check_zone), Field(description="IANA name", examples=["Asia/Tokyo"])]
CutOff = Annotated[
    str,
    Field(pattern=TIME_PATTERN, description="Local time, HH:MM, at which the business day ends"),
]


CutOffOut = Annotated[
    str,
    Field(pattern=TIME_PATTERN, description="Local time, HH:MM, at which the business day ends", examples=["05:00"]),
]


class StoreIn(Body):
    """A store to open."""

    name: Name
    merchant_id: Id | None = Field(
        None, description="Required from callers above merchant level; the default is your own"
    )
    currency: CurrencyIn = "JPY"
    time_zone: TimeZone = "Asia/Tokyo"
    cut_off: CutOff = "00:00"

    def to_request(self) -> StoreRequest:
        """Convert to the use-case's ``StoreRequest``."""
        return StoreRequest(self.name, self.currency, self.time_zone, time.fromisoformat(self.cut_off))


class StoreChange(Body):
    """The fields to change; omitted fields are not changed."""

    name: Name = Field(default_factory=unset)
    currency: CurrencyIn = Field(default_factory=unset)
    time_zone: TimeZone = Field(default_factory=unset)
    cut_off: CutOff = Field(default_factory=unset)

    def to_changes(self) -> dict[str, Any]:
        """Return the columns to set."""
        changes = self.model_dump(exclude_unset=True)
        if "cut_off" in changes:
            changes["cut_off"] = time.fromisoformat(changes["cut_off"])
        return changes


class StoreOut(BaseModel):
    """A store."""

    id: str
    merchant_id: str
    name: str
    currency: Currency
    time_zone: Annotated[str, Field(description="IANA name", examples=["Asia/Tokyo"])]
    cut_off: CutOffOut
    created_at: datetime
    updated_at: datetime


class StoresOut(BaseModel):
    """A page of stores, newest first."""

    data: list[StoreOut]
    next_cursor: Cursor
