"""Bodies of requests and answers about terminals (devices) and their activation."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas.base import Body, Id, Printable
from api.schemas.integer_types import Cursor, Version
from workflows.devices.register import DeviceRequest
from workflows.devices.states import DeviceStatus

Name = Annotated[Printable, Field(max_length=100)]

MAX_CODE_LENGTH = 32  # 12 characters, with room for the spaces and hyphens that people type
MAX_KEY_LENGTH = 2_000  # the PEM of a P-256 key has about 180 characters


class TerminalIn(Body):
    """A terminal to register."""

    serial_number: Annotated[Name, Field(description="Unique among all terminals that are not deactivated")]
    name: Name
    model: Name
    store_id: Id | None = Field(None, description="Required from callers above store level; the default is your own")

    def to_request(self) -> DeviceRequest:
        """Convert to the use-case's ``DeviceRequest``."""
        return DeviceRequest(self.serial_number, self.name, self.model, self.store_id)


class TerminalOut(BaseModel):
    """A terminal."""

    id: str
    merchant_id: str
    store_id: str
    serial_number: str
    name: str
    model: str
    status: DeviceStatus
    version: Version
    client_id: str | None
    created_at: datetime
    activated_at: datetime | None
    suspended_at: datetime | None
    deactivated_at: datetime | None
    last_connected_at: datetime | None


class TerminalsOut(BaseModel):
    """A page of terminals, newest first."""

    data: list[TerminalOut]
    next_cursor: Cursor


class CodeIn(Body):
    """The terminal that the activation code is for."""

    device_id: Id


class CodeOut(BaseModel):
    """An activation code. It is shown only in this answer, and is valid once, for 15 minutes and five attempts."""

    activation_code: str
    expires_at: datetime


class ActivateIn(Body):
    """A terminal's activation code and serial number, and the public key that will verify its client assertions."""

    activation_code: Annotated[Printable, Field(max_length=MAX_CODE_LENGTH)]
    serial_number: Name
    public_key_pem: Annotated[str, Field(min_length=1, max_length=MAX_KEY_LENGTH, description="EC P-256, PEM")]


class ActivatedOut(BaseModel):
    """An activated terminal. ``client_id`` is the `iss` and `sub` of its client assertions."""

    device_id: str
    client_id: str
    status: DeviceStatus


class ActivationStatusOut(BaseModel):
    """The activation status of a terminal."""

    device_id: str
    status: DeviceStatus
