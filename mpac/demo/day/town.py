"""The town: a merchant with three stores in Tokyo, made over HTTP as an installation makes them.

The chain closes at midnight; its izakaya sells until the morning, so that its business day ends at five.
"""

import asyncio
import secrets
from dataclasses import dataclass, field

import aiohttp

from mpac.demo.day.people import Person
from mpac.demo.guests import Guests
from mpac.demo.stage import Stage
from mpac.stack.keys import new_private_key, public_key
from mpac.terminal import Terminal
from mpac.user_tokens import Tenant, UserTokens

MERCHANT = "株式会社みなとフーズ"
LETTERS = "abcdefghjkmnpqrstvwxyz"  # no digits: they could pass for a card number

NO_CARD_FILES = {"provider": "external", "statements": "none", "note": "The card company reports on paper only"}
"""Without this a day with terminal cards waits until a person accepts that they were not compared."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A store to be. ``english`` is what the screen calls it."""

    english: str
    name: str
    cut_off: str = "00:00"
    has_card_files: bool = False


PLANS = (
    Plan("Shibuya", "みなと珈琲 渋谷店", has_card_files=True),
    Plan("Shinjuku", "みなと珈琲 新宿店"),
    Plan("Ueno", "居酒屋みなと 上野店", "05:00"),
)


@dataclass(frozen=True, slots=True)
class Shop:
    """An open store: its terminal, and who is responsible for it."""

    plan: Plan
    store_id: str
    manager: Person
    terminal: Terminal = field(repr=False)
    guests: Guests = field(repr=False)


@dataclass(frozen=True, slots=True)
class Town:
    """All of it. ``accountant`` is the merchant's administrator."""

    merchant_id: str
    accountant: Person
    shops: dict[str, Shop]
    session: aiohttp.ClientSession = field(repr=False)


class Founder:
    """Makes people and stores."""

    def __init__(self, stage: Stage, session: aiohttp.ClientSession) -> None:
        self._stage, self._session = stage, session
        self._run = stage.run
        self._tokens = UserTokens(stage.home)
        self._mark = "".join(secrets.choice(LETTERS) for _ in range(8))

    async def found(self) -> Town:
        """The merchant, its accountant, its stores. Raises ``BrokeOff``."""
        psp_id = self._stage.seed["psp_id"]
        psp = self.person("psp_admin", "psp-office", Tenant(psp_id))
        merchant_id = (await psp.post("/merchants", {"name": MERCHANT}))["id"]
        accountant = self.person("merchant_admin", "k.sato", Tenant(psp_id, merchant_id))
        shops = await asyncio.gather(*(self._open(plan, accountant, Tenant(psp_id, merchant_id)) for plan in PLANS))
        return Town(merchant_id, accountant, {shop.plan.english: shop for shop in shops}, self._session)

    def person(self, role: str, name: str, tenant: Tenant) -> Person:
        """A user with a token."""
        token = self._tokens.issue(role, tenant, subject=name)
        return Person(name, api_url=self._run["api_url"], token=token, session=self._session)

    async def _open(self, plan: Plan, accountant: Person, tenant: Tenant) -> Shop:
        store = await accountant.post("/stores", {"name": plan.name, "cut_off": plan.cut_off})
        provider = {"provider": "sandbox", "methods": ["card", "qr"]}
        await accountant.post(f"/stores/{store['id']}/providers", provider)
        if not plan.has_card_files:
            await accountant.put(f"/stores/{store['id']}/statement-policies", NO_CARD_FILES)
        here = Tenant(tenant.psp_id, tenant.merchant_id, store["id"])
        manager = self.person("store_manager", f"manager-{plan.english.lower()}", here)
        terminal = await self._terminal(plan, manager)
        guests = Guests(
            terminal,
            session=self._session,
            sandbox_url=self._run["sandbox_url"],
            control_key=self._run["sandbox_control_key"],
        )
        return Shop(plan, store["id"], manager, terminal, guests)

    async def _terminal(self, plan: Plan, manager: Person) -> Terminal:
        """Register, get a code, activate with it and a new key: what a person with a new terminal does."""
        serial = f"DAY-{self._mark}-{plan.english}"
        device = await manager.post(
            "/terminals", {"serial_number": serial, "name": f"{plan.english} 1", "model": "S-Pitt Air"}
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
        return Terminal(self._run["api_url"], {**known, "private_key_pem": key.decode()}, session=self._session)
