"""Bodies of requests and answers about merchants."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas.base import Body, Id, Printable, unset
from api.schemas.integer_types import Cursor

Name = Annotated[Printable, Field(max_length=100)]


class MerchantIn(Body):
    """A merchant to register."""

    name: Name
    psp_id: Id | None = Field(None, description="Required from a system operator; the default is your own")


class MerchantChange(Body):
    """The fields to change; omitted fields are not changed."""

    name: Name = Field(default_factory=unset)


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
