"""Merchants: what comes in and what goes out."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from api.schemas.base import Body, Id, Printable, absent
from api.schemas.outputs import Cursor

Name = Annotated[Printable, Field(max_length=100)]

FIELDS = ("id", "psp_id", "name", "created_at", "updated_at")


class MerchantIn(Body):
    """A merchant to be registered."""

    name: Name
    psp_id: Id | None = Field(None, description="Needed from a system operator; else your own")


class MerchantChange(Body):
    """What changes; what is left out stays."""

    name: Name = Field(default_factory=absent)


class MerchantOut(BaseModel):
    """A merchant."""

    id: str
    psp_id: str
    name: str
    created_at: datetime
    updated_at: datetime


class MerchantsOut(BaseModel):
    """A page of merchants, newest first."""

    data: list[MerchantOut]
    next_cursor: Cursor


def merchant_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the contract shows it."""
    return {name: row[name] for name in FIELDS}
