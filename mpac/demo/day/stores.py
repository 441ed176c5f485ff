"""Create a merchant with three stores in Tokyo, over HTTP as in an installation.

Two stores close at midnight. The third is an izakaya that sells until the morning, so its business day ends at five.
"""

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

from mpac.demo.day.users import User
from mpac.demo.environment import DemoEnvironment
from mpac.demo.guest_client import GuestClient
from mpac.demo.http_client import CallerFactory
from mpac.demo.problems import UnexpectedAnswer
from mpac.devtools.user_tokens import Tenant, UserTokens
from mpac.stack.keys import new_private_key, public_key

MERCHANT = "株式会社みなとフーズ"
LETTERS = "abcdefghjkmnpqrstvwxyz"  # no digits: they could pass for a card number

NO_CARD_FILES = {"provider": "external", "statements": "none", "note": "The card company reports on paper only"}
"""Without this policy a day with terminal cards waits until a person accepts that they were not compared."""


@dataclass(frozen=True, slots=True)
class StorePlan:
    """A store to create. ``english`` is its name on the screen."""

    english: str
    name: str
    cut_off: str = "00:00"
    has_card_files: bool = False


PLANS = (
    StorePlan("Shibuya", "みなと珈琲 渋谷店", has_card_files=True),
    StorePlan("Shinjuku", "みなと珈琲 新宿店"),
    StorePlan("Ueno", "居酒屋みなと 上野店", "05:00"),
)


@dataclass(frozen=True, slots=True)
class DemoStore:
    """An open store: its manager, and the client of its terminal."""

    plan: StorePlan
    store_id: str
    manager: User
    client: GuestClient = field(repr=False)


@dataclass(frozen=True, slots=True)
class DemoStores:
    """The merchant's stores by English name. ``accountant`` is the merchant's administrator."""

    merchant_id: str
    accountant: User
    by_name: dict[str, DemoStore]


class StoreBuilder:
    """Create users and stores."""

    def __init__(self, demo: DemoEnvironment, callers: CallerFactory) -> None:
        self._demo, self._callers = demo, callers
        self._run = demo.run
        self._tokens = UserTokens(demo.home)
        self._mark = "".join(secrets.choice(LETTERS) for _ in range(8))

    async def build(self) -> DemoStores:
        """Create the merchant, its accountant and its stores. Raises ``UnexpectedAnswer``."""
        psp_id = self._demo.seed["psp_id"]
        psp = self.user("psp_admin", "psp-office", Tenant(psp_id))
        merchant_id = (await psp.post("/merchants", {"name": MERCHANT}))["id"]
        accountant = self.user("merchant_admin", "k.sato", Tenant(psp_id, merchant_id))
        stores = await asyncio.gather(*(self._open(plan, accountant, Tenant(psp_id, merchant_id)) for plan in PLANS))
        return DemoStores(merchant_id, accountant, {store.plan.english: store for store in stores})

    def user(self, role: str, name: str, tenant: Tenant) -> User:
        """Return a user with a token."""
        token = self._tokens.issue(role, tenant, subject=name)
        return User(self._callers.user(self._run["api_url"], token, name=name))

    async def _open(self, plan: StorePlan, accountant: User, tenant: Tenant) -> DemoStore:
        store = await accountant.post("/stores", {"name": plan.name, "cut_off": plan.cut_off})
        path = f"/stores/{store['id']}/providers"
        provider = {"provider": "sandbox", "methods": ["card", "qr"]}
        await accountant.create_once(path, provider, existing=lambda: accountant.read(f"{path}/sandbox"))
        if not plan.has_card_files:
            await accountant.put(f"/stores/{store['id']}/statement-policies", NO_CARD_FILES)
        here = Tenant(tenant.psp_id, tenant.merchant_id, store["id"])
        manager = self.user("store_manager", f"manager-{plan.english.lower()}", here)
        device = await self._device(plan, manager)
        run = self._run
        phone = self._callers.provider(run["sandbox_url"], run["sandbox_control_key"], name="a guest's telephone")
        client = GuestClient(self._callers.terminal(run["api_url"], device), phone=phone)
        return DemoStore(plan, store["id"], manager, client)

    async def _device(self, plan: StorePlan, manager: User) -> dict[str, str]:
        """Register a device, get a code and activate it with a new key, as a person with a new terminal does."""
        serial = f"DAY-{self._mark}-{plan.english}"
        device = await manager.create_once(
            "/terminals",
            {"serial_number": serial, "name": f"{plan.english} 1", "model": "S-Pitt Air"},
            existing=lambda: _find_terminal(manager, serial),
        )
        code = await manager.post("/device/provision/generateActivationCode", {"device_id": device["id"]})
        key = new_private_key()
        activated = await manager.post(
            "/device/provision/activate",
            {
                "activation_code": code["activation_code"],
                "serial_number": serial,
                "public_key_pem": public_key(key),
            },
        )
        known = {name: activated[name] for name in ("device_id", "client_id")}
        return {**known, "private_key_pem": key.decode()}


async def _find_terminal(manager: User, serial: str) -> dict[str, Any]:
    terminals: list[dict[str, Any]] = (await manager.read("/terminals"))["data"]
    for terminal in terminals:
        if terminal["serial_number"] == serial:
            return terminal
    raise UnexpectedAnswer(f"the serial number {serial} is taken, and {manager.name} sees no terminal that has it")
