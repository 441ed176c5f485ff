"""Create tenants and activated devices for trying things out, through the product's own use-cases.

Each seed is a new PSP with new merchants, stores and devices; existing data is not changed. The devices' private keys are
created here and returned, and stored nowhere. Names depend on the number alone, so that ``mpac seed`` can print them beside
the ids without reading the database.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from mpac.devtools.user_tokens import ROLES, Tenant, UserTokens
from mpac.stack.keys import new_private_key, public_key
from mpac.stack.state_folder import Home
from workflows.database.engines import connect, disconnect
from workflows.devices.register import DeviceOnboarding, onboard_devices
from workflows.settings import Settings, load_settings
from workflows.tenants.caller import Caller, CallerRole
from workflows.tenants.merchants import register_merchant, register_psp
from workflows.tenants.store_providers import ProviderRequest, Vault, add_provider
from workflows.tenants.stores import StoreRequest, open_store

OPERATOR = Caller("mpac-seed", CallerRole.SYSTEM_OP)
BATCH = 1_000  # devices per transaction: half a megabyte of rows
PROVIDER = ProviderRequest("sandbox", ["card", "qr"], priority=1)

LETTERS = "abcdefghjkmnpqrstvwxyz"
"""Letters of a seed's mark. With digits, one serial number in three hundred could pass for a card number."""

PSP_NAME = "Ginza Payments"
MERCHANTS = ("Sakura Cafe", "Umi Sushi", "Kaze Books", "Hoshi Ramen", "Midori Flowers", "Yuki Bakery", "Tsuki Bar")
PLACES = ("Shibuya", "Ueno", "Ginza", "Asakusa", "Shinjuku", "Nakano", "Ebisu", "Kichijoji")

Seed = dict[str, Any]


def merchant_name(number: int) -> str:
    """Return the name of a merchant by its number in the seed, from 0."""
    return _name_at(MERCHANTS, number)


def store_name(number: int, *, merchants: int) -> str:
    """Return the name of a store by its number in the seed, from 0.

    Stores are spread evenly over the merchants.
    """
    return f"{merchant_name(number % merchants)}, {_name_at(PLACES, number // merchants)}"


def device_name(number: int, *, stores: int) -> str:
    """Return the name of a device by its number in the seed, from 0.

    Devices are spread evenly over the stores.
    """
    return f"Till {number // stores + 1}"


def _name_at(names: Sequence[str], number: int) -> str:
    """Return the name ``number`` of ``names``.

    After the last name, the names are repeated with a 2, and so on.
    """
    round_, place = divmod(number, len(names))
    return names[place] if round_ == 0 else f"{names[place]} {round_ + 1}"


async def seed_tenants(home: Home, *, merchants: int, stores: int, devices: int) -> Seed:
    """Create the tenants and return what ``mpac seed --json`` prints.

    Stores and devices are spread evenly.
    """
    tokens = UserTokens(home)
    settings = load_settings()
    connect(settings)
    try:
        mark = "".join(secrets.choice(LETTERS) for _ in range(8))
        psp_id = (await register_psp(PSP_NAME, caller=OPERATOR))["id"]
        merchant_ids = [
            (await register_merchant(merchant_name(n), psp_id=psp_id, caller=OPERATOR))["id"] for n in range(merchants)
        ]
        store_ids = [await _open(merchant_ids, n, settings=settings) for n in range(max(stores, merchants))]
        made = await _enrol(store_ids, devices, mark=mark)
    finally:
        await disconnect()
    tenant = Tenant(psp_id, merchant_ids[0], store_ids[0])
    return {
        "psp_id": psp_id,
        "merchant_id": merchant_ids[0],
        "store_id": store_ids[0],
        "merchants": merchant_ids,
        "stores": store_ids,
        "devices": made,
        "tokens": {role: tokens.issue(role, tenant) for role in ROLES},
    }


async def _open(merchant_ids: list[str], number: int, *, settings: Settings) -> str:
    merchant_id = merchant_ids[number % len(merchant_ids)]
    request = StoreRequest(store_name(number, merchants=len(merchant_ids)))
    store_id: str = (await open_store(request, merchant_id=merchant_id, caller=OPERATOR))["id"]
    vault = Vault(settings.secret_key.get_secret_value().encode())
    await add_provider(store_id, PROVIDER, caller=OPERATOR, vault=vault)
    return store_id


async def _enrol(store_ids: list[str], count: int, *, mark: str) -> list[dict[str, str]]:
    keys = [new_private_key() for _ in range(count)]
    enrolments = [
        DeviceOnboarding(
            store_id=store_ids[number % len(store_ids)],
            serial_number=f"SEED-{mark}-{number + 1:06}",
            name=device_name(number, stores=len(store_ids)),
            model="S-Pitt Air",
            public_key_pem=public_key(key),
        )
        for number, key in enumerate(keys)
    ]
    made: list[dict[str, str]] = []
    for start in range(0, count, BATCH):
        made += await onboard_devices(enrolments[start : start + BATCH], caller=OPERATOR)
    return [{**device, "private_key_pem": key.decode()} for device, key in zip(made, keys, strict=True)]
