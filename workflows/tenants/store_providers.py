"""Add, change, remove and read the providers of a store, and encrypt their credentials.

A store has an ordered list of providers, each with its methods, its priority, a switch and credentials. New credentials
replace all the old ones. Payments that a removed provider already has are finished with it, but new payments no longer reach
it.

Credentials are encrypted at rest, so that the table and its backups do not reveal them: AES-256-GCM under a key that HKDF
derives from ``MPAC_SECRET_KEY``, so that this key serves no other purpose. The ciphertext is bound to its row: copied to
another store's row it cannot be decrypted. Credentials are never sent to a client; answers list only the names that are set.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import violated_constraint
from workflows.errors import Detail, DuplicateResource
from workflows.ids import new_id
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.models import StoreProvider, StoreProviderRow
from workflows.tenants.query_helpers import one_row, page_of
from workflows.tenants.scope import visible_to
from workflows.tenants.stores import one_store

logger = logging.getLogger(__name__)

PURPOSE = b"mpac store provider credentials v1"
KEY_BYTES = 32
NONCE_BYTES = 12  # the size that GCM specifies; random nonces are safe for up to 2^32 encryptions with a key


class CredentialsUnreadable(Exception):
    """Stored credentials cannot be decrypted, because ``MPAC_SECRET_KEY`` was changed or the row was altered."""


class Vault:
    """Encrypts and decrypts the credentials of store providers. An instance is cheap and may be made per request."""

    def __init__(self, secret: bytes) -> None:
        derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE).derive(secret)
        self._cipher = AESGCM(derived)

    def seal(self, credentials: dict[str, str], *, row_id: str) -> bytes | None:
        """Encrypt the credentials of the row ``row_id``. Return ``None`` if there are no credentials."""
        if not credentials:
            return None
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, orjson.dumps(credentials), row_id.encode())

    def open(self, sealed: bytes | None, *, row_id: str) -> dict[str, str]:
        """Decrypt the credentials of the row ``row_id``. Raises ``CredentialsUnreadable``."""
        if sealed is None:
            return {}
        try:
            clear = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], row_id.encode())
        except InvalidTag as error:
            raise CredentialsUnreadable(
                f"the credentials of {row_id} cannot be decrypted with this MPAC_SECRET_KEY"
            ) from error
        opened: dict[str, str] = orjson.loads(clear)
        return opened


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A provider to add to a store. The provider with the lowest ``priority`` is tried first."""

    provider: str
    methods: list[str]
    priority: int = 1
    enabled: bool = True
    credentials: dict[str, str] = field(default_factory=dict, repr=False)


async def add_provider(store_id: str, request: ProviderRequest, *, caller: Caller, vault: Vault) -> StoreProviderRow:
    """Add a provider to a store, with encrypted credentials, and return its row.

    Raises ``ResourceNotFound`` (store) and ``DuplicateResource`` (the store has this provider already).
    """
    row_id = new_id("store_provider")
    row: dict[str, Any] = {
        "id": row_id,
        "store_id": store_id,
        "provider": request.provider,
        "methods": request.methods,
        "priority": request.priority,
        "enabled": request.enabled,
        "credentials": vault.seal(request.credentials, row_id=row_id),
        "created_at": func.now(),
        "updated_at": func.now(),
    }
    try:
        async with caller_transaction(caller) as connection:
            row["merchant_id"] = (await one_store(connection, store_id, caller))["merchant_id"]
            added = insert(StoreProvider).values(row).returning(*StoreProvider.__table__.columns)
            return cast(StoreProviderRow, dict((await connection.execute(added)).mappings().one()))
    except IntegrityError as error:
        if violated_constraint(error) != "store_providers_one_each":
            raise  # untested: a new row violates no other constraint
        raise DuplicateResource(Detail("provider", "This store has it already; change it with PATCH")) from error


async def change_provider(
    store_id: str, provider: str, changes: dict[str, Any], *, caller: Caller, vault: Vault
) -> StoreProviderRow:
    """Set the columns in ``changes`` to new values and return the provider's row.

    ``provider`` is the name of the provider or the id of its row. Raises ``ResourceNotFound``.
    """
    async with caller_transaction(caller) as connection:
        found = await one_provider(connection, store_id, provider, caller=caller)
        columns = {**changes, "updated_at": func.now()}
        if "credentials" in changes:
            columns["credentials"] = vault.seal(changes["credentials"], row_id=found["id"])
        statement = (
            update(StoreProvider)
            .where(StoreProvider.id == found["id"])
            .values(**columns)
            .returning(*StoreProvider.__table__.columns)
        )
        return cast(StoreProviderRow, dict((await connection.execute(statement)).mappings().one()))


async def remove_provider(store_id: str, provider: str, *, caller: Caller) -> None:
    """Delete a store's provider, with its credentials.

    ``provider`` is the name of the provider or the id of its row. Raises ``ResourceNotFound``.
    """
    async with caller_transaction(caller) as connection:
        found = await one_provider(connection, store_id, provider, caller=caller)
        await connection.execute(delete(StoreProvider).where(StoreProvider.id == found["id"]))


async def list_providers(store_id: str, *, caller: Caller, limit: int, before: str | None) -> list[StoreProviderRow]:
    """List up to ``limit`` providers of a store, newest first, older than the id ``before``.

    Raises ``ResourceNotFound`` if the caller sees no such store.
    """
    statement = select(StoreProvider.__table__).where(StoreProvider.store_id == store_id)
    async with caller_transaction(caller) as connection:
        await one_store(connection, store_id, caller)
        return cast(
            list[StoreProviderRow],
            await page_of(connection, statement, by=StoreProvider.id, limit=limit, before=before),
        )


async def read_provider(store_id: str, provider: str, *, caller: Caller) -> StoreProviderRow:
    """Return the row of a store's provider, found by the provider's name or the row's id.

    Raises ``ResourceNotFound``.
    """
    async with caller_transaction(caller) as connection:
        return await one_provider(connection, store_id, provider, caller=caller)


async def one_provider(
    connection: AsyncConnection, store_id: str, provider: str, *, caller: Caller
) -> StoreProviderRow:
    """Return the row of a store's provider, by the provider's name or the row's id.

    The row is read on ``connection``. Raises ``ResourceNotFound``.
    """
    conditions = visible_to(caller, StoreProvider.merchant_id, StoreProvider.store_id)
    by_either = (StoreProvider.provider == provider) | (StoreProvider.id == provider)
    statement = select(StoreProvider.__table__).where(StoreProvider.store_id == store_id, by_either, *conditions)
    return cast(StoreProviderRow, await one_row(connection, statement))


STORE_PROVIDER_FIELDS = (
    "id",
    "store_id",
    "merchant_id",
    "provider",
    "methods",
    "priority",
    "enabled",
    "created_at",
    "updated_at",
)


def store_provider_fields(row: StoreProviderRow, vault: Vault) -> dict[str, Any]:
    """Return the fields of a store provider's row: the names of its credentials, never their values.

    Credentials that cannot be decrypted count as not set, because nothing can use them, and are logged as an error.
    """
    values: Mapping[str, object] = row
    try:
        credentials = vault.open(row["credentials"], row_id=row["id"])
    except CredentialsUnreadable as error:
        logger.error("%s", error, extra={"event": "store_provider.credentials_unreadable"})
        credentials = {}
    return {**{name: values[name] for name in STORE_PROVIDER_FIELDS}, "credentials_set": sorted(credentials)}
