"""Terminals (devices) and their activation: what comes in and what goes out."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.base import Body, Id, Printable
from workflows.devices.register import DeviceRequest
from workflows.devices.states import DeviceStatus

Name = Annotated[Printable, Field(max_length=100)]

FIELDS = (
    "id",
    "merchant_id",
    "store_id",
    "serial_number",
    "name",
    "model",
    "status",
    "version",
    "client_id",
    "created_at",
    "activated_at",
    "suspended_at",
    "deactivated_at",
    "last_connected_at",
)
MAX_CODE_LENGTH = 32  # 12 characters, and what people put between them
MAX_KEY_LENGTH = 2_000  # the PEM of a P-256 key has some 180


class TerminalIn(Body):
    """A terminal to be registered."""

    serial_number: Annotated[Name, Field(description="Unique among all terminals that are not deactivated")]
    name: Name
    model: Name
    store_id: Id | None = Field(None, description="Needed from callers above a store; else your own")

    def to_request(self) -> DeviceRequest:
        """The same in the domain's words."""
        return DeviceRequest(self.serial_number, self.name, self.model, self.store_id)


def _example(status: str, **fields: Any) -> dict[str, Any]:
    base = {
        "id": "dev_0198c0de5a7b7c3e9d1f2a3b4c5d6e7f",
        "merchant_id": "mer_0198c0de5a7b7c3e9d1f2a3b4c5d6e01",
        "store_id": "sto_0198c0de5a7b7c3e9d1f2a3b4c5d6e02",
        "serial_number": "SPA-000123",
        "name": "Till 1",
        "model": "S-Pitt Air",
        "status": status,
        "version": 1,
        "created_at": "2026-01-28T01:00:00Z",
    }
    return {**dict.fromkeys(FIELDS), **base, **fields}


_ACTIVE = {
    "client_id": "cli_0198c0de5a7b7c3e9d1f2a3b4c5d6e03",
    "activated_at": "2026-01-28T01:05:00Z",
    "last_connected_at": "2026-01-28T03:00:00Z",
}
EXAMPLES: list[Any] = [
    _example("pending_activation"),
    _example("active", **_ACTIVE, version=2),
    _example("suspended", **_ACTIVE, version=3, suspended_at="2026-01-28T04:00:00Z"),
    _example("deactivated", **_ACTIVE, version=3, deactivated_at="2026-01-28T05:00:00Z"),
]


class TerminalOut(BaseModel):
    """A terminal."""

    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})

    id: str
    merchant_id: str
    store_id: str
    serial_number: str
    name: str
    model: str
    status: DeviceStatus
    version: int
    client_id: str | None
    created_at: datetime
    activated_at: datetime | None
    suspended_at: datetime | None
    deactivated_at: datetime | None
    last_connected_at: datetime | None


class TerminalsOut(BaseModel):
    """A page of terminals, newest first."""

    data: list[TerminalOut]
    next_cursor: str | None


class CodeIn(Body):
    """Which terminal is to be activated."""

    device_id: Id


class CodeOut(BaseModel):
    """An activation code: shown this once, good once, for 15 minutes and five tries."""

    activation_code: str
    expires_at: datetime


class ActivateIn(Body):
    """What a terminal proves itself with, and the key it will sign with."""

    activation_code: Annotated[Printable, Field(max_length=MAX_CODE_LENGTH)]
    serial_number: Name
    public_key_pem: Annotated[str, Field(min_length=1, max_length=MAX_KEY_LENGTH, description="EC P-256, PEM")]


class ActivatedOut(BaseModel):
    """An activated terminal: ``client_id`` is what its assertions name."""

    device_id: str
    client_id: str
    status: DeviceStatus


class ActivationStatusOut(BaseModel):
    """How far the activation of a terminal is."""

    device_id: str
    status: DeviceStatus


def terminal_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row (absent columns taken as null) as the contract shows it."""
    return {name: row.get(name) for name in FIELDS}
