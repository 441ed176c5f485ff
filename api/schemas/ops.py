"""What operators send and see."""

from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas.base import Body, Printable


class MaintenanceIn(Body):
    """Close the installation, or open it again."""

    enabled: bool
    message: Annotated[Printable, Field(max_length=200)] | None = None


class MaintenanceOut(BaseModel):
    """The switch as it is now."""

    enabled: bool
    message: str | None
