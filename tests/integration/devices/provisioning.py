"""Bring terminals into a status, over HTTP only."""

from dataclasses import dataclass

import uuid_utils

from mpac.stack.keys import new_private_key, public_key
from tests.factories import Tenant
from tests.harness import Answer, Api
from workflows.devices.states import DeviceEvent, DeviceStatus


@dataclass(frozen=True, slots=True)
class Terminal:
    """A registered terminal, and the key pair that it uses when it is activated."""

    device_id: str
    serial_number: str
    private_key_pem: str

    @property
    def public_key_pem(self) -> str:
        """The public key that the terminal sends when it is activated."""
        return public_key(self.private_key_pem.encode())


class Provisioning:
    """The steps of provisioning, as a store's manager and its terminals take them."""

    def __init__(self, api: Api, tenant: Tenant) -> None:
        self.api = api
        self.tenant = tenant
        self.manager = api.signer.user(tenant, role="store_manager")

    async def register(self) -> Terminal:
        """Register a terminal, which then waits for its activation."""
        serial_number = f"SN-{uuid_utils.uuid7().hex}"
        body = {"serial_number": serial_number, "name": "Till 1", "model": "S-Pitt Air"}
        answer = await self.api.post("/terminals", body, as_=self.manager)
        assert answer.status == 201, answer.body
        return Terminal(answer.body["id"], serial_number, new_private_key().decode())

    async def code(self, terminal: Terminal) -> str:
        """Generate an activation code."""
        answer = await self.ask_code(terminal)
        assert answer.status == 201, answer.body
        code: str = answer.body["activation_code"]
        return code

    async def ask_code(self, terminal: Terminal) -> Answer:
        """Request an activation code, and return the answer without checking it."""
        body = {"device_id": terminal.device_id}
        return await self.api.post("/device/provision/generateActivationCode", body, as_=self.manager)

    async def activate(self, terminal: Terminal, code: str, **fields: str) -> Answer:
        """Activate the terminal with ``code``, and return the answer; ``fields`` replace fields of the body."""
        body = {
            "activation_code": code,
            "serial_number": terminal.serial_number,
            "public_key_pem": terminal.public_key_pem,
            **fields,
        }
        return await self.api.post("/device/provision/activate", body)

    async def active(self) -> tuple[Terminal, str]:
        """Return an active terminal and its client id."""
        terminal = await self.register()
        answer = await self.activate(terminal, await self.code(terminal))
        assert answer.status == 200, answer.body
        return terminal, answer.body["client_id"]

    async def move(self, terminal: Terminal, event: DeviceEvent, **fields: str) -> Answer:
        """Suspend, resume or deactivate the terminal."""
        return await self.api.post(f"/terminals/{terminal.device_id}/{event}", fields or None, as_=self.manager)

    async def in_status(self, status: DeviceStatus) -> Terminal:
        """Return a terminal in ``status``."""
        if status is DeviceStatus.PENDING_ACTIVATION:
            return await self.register()
        terminal, _ = await self.active()
        events = {
            DeviceStatus.ACTIVE: None,
            DeviceStatus.SUSPENDED: DeviceEvent.SUSPEND,
            DeviceStatus.DEACTIVATED: DeviceEvent.DEACTIVATE,
        }
        event = events[status]
        if event:
            assert (await self.move(terminal, event)).status == 200
        return terminal

    async def read(self, terminal: Terminal) -> Answer:
        """Read the terminal as its manager."""
        return await self.api.get(f"/terminals/{terminal.device_id}", as_=self.manager)
