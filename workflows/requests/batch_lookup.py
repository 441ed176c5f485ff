"""Look up what decides about each request of a group of creates, in one statement.

Payments and orders put ``LOOKUP_COLUMNS``, ``LOOKUP_RESULT`` and ``LOOKUP_JOINS`` into their statement. It finds the store,
the status of the device and the answer that was stored for the idempotency key. ``InFlightKeys`` prevents this process from
running two requests with the same key at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import RowMapping

from workflows.errors import Detail, IdempotencyKeyInUse, ResourceNotFound
from workflows.requests.idempotency import ANSWER, OWNER, Key, StoredAnswer, replay
from workflows.tenants.caller import Caller, CallerRole, device_not_active_error
from workflows.tenants.scope import scope_condition

LOOKUP_COLUMNS = """n integer, scope text, psp_id text, merchant_id text, store_id text, device_id text, client_id text,
        method text, path text, key text, beside text, caller text"""
"""The columns of ``lookup_row``, which the statement reads as ``i``."""

LOOKUP_RESULT = """i.n, s.id AS store_id, s.merchant_id, s.currency, d.status AS device_status, now() AS now,
           k.is_mine IS FALSE AS is_taken,
           CASE WHEN k.is_known THEN k.fingerprint ELSE b.fingerprint END AS fingerprint,
           CASE WHEN k.is_known THEN k.meaning ELSE b.meaning END AS meaning,
           CASE WHEN k.is_known THEN k.status ELSE b.status END AS status,
           CASE WHEN k.is_known THEN k.body ELSE b.body END AS body,
           CASE WHEN k.is_known THEN k.resource_id ELSE b.resource_id END AS resource_id"""

# devices is a table of a higher layer: a device's status is checked in the same round trip as its key and store.
LOOKUP_JOINS = f"""
    JOIN LATERAL (
        SELECT id, merchant_id, currency, time_zone, cut_off FROM stores WHERE id = i.store_id LIMIT 1
    ) s ON {scope_condition(merchant_id="s.merchant_id", store_id="s.id", caller="i.")}
    LEFT JOIN LATERAL (
        SELECT CASE WHEN i.client_id IN ('', client_id) THEN status ELSE 'replaced' END AS status
        FROM devices WHERE id = i.device_id LIMIT 1
    ) d ON true
    LEFT JOIN LATERAL (
        SELECT {ANSWER}, coalesce({OWNER.format("r")} = i.caller, false) AS is_mine,
               expires_at > now() AND {OWNER.format("r")} = i.caller AS is_known
        FROM idempotency_records r
        WHERE merchant_id = s.merchant_id AND key = i.key AND path = i.path AND method = i.method
        LIMIT 1
    ) k ON true
    LEFT JOIN LATERAL (
        SELECT {ANSWER} FROM idempotency_records
        WHERE merchant_id = s.merchant_id AND key = i.beside AND path = i.path AND method = i.method
          AND expires_at > now()
        LIMIT 1
    ) b ON true"""
"""The joins; they find no row if the caller may not see the store.

``i.store_id`` is the requested store. For a store's caller it is the caller's own (``resolve_store``), so the tenant rule can
compare with it. ``k`` is the record in the key's place, ``b`` the caller's own record beside another caller's
(``workflows.requests.idempotency``). LATERAL and LIMIT 1 force an index lookup by the whole key: plans are cached, and a plan
made while the tables were small walked through all keys of the merchant (2.0 ms instead of 0.3)."""


def lookup_row(number: int, caller: Caller, key: Key, *, store_id: str) -> dict[str, Any]:
    """Return the row of ``LOOKUP_COLUMNS`` for the request ``number`` of a group."""
    return {
        "n": number,
        "scope": caller.scope,
        "psp_id": caller.psp_id,
        "merchant_id": caller.merchant_id,
        "store_id": store_id,
        "device_id": caller.id if caller.role is CallerRole.DEVICE else None,
        "client_id": caller.client_id,
        "method": key.method,
        "path": key.path,
        "key": key.value,
        "beside": key.place_beside,
        "caller": key.caller,
    }


def check_caller(caller: Caller, fact: RowMapping | None) -> RowMapping:
    """Return ``fact``, the lookup's result.

    Raises ``NotAuthorized`` (device not active), ``ResourceNotFound`` (store).
    """
    if caller.role is CallerRole.DEVICE and (fact is None or fact["device_status"] != "active"):
        raise device_not_active_error(fact["device_status"] if fact else None)
    if fact is None:
        raise ResourceNotFound(Detail("store_id", "There is no such store"))
    return fact


def known_answer(key: Key, fact: RowMapping, *, currency: str | None) -> StoredAnswer | None:
    """Return the stored answer to the request's key, or ``None``. Raises ``IdempotencyKeyReused``.

    ``currency`` is the store's, for a body that names none.
    """
    return None if fact["status"] is None else replay(key, fact, currency=currency)


class InFlightKeys:
    """The keys of requests that run in this process; those of other processes collide in the database."""

    def __init__(self) -> None:
        self._running: set[tuple[str, ...]] = set()

    @contextmanager
    def running(self, caller: Caller, key: Key) -> Iterator[None]:
        """Mark a key as running.

        Raises ``IdempotencyKeyInUse`` if a request with it has not been answered yet.
        """
        mark = (caller.merchant_id or caller.psp_id, *key.identity)
        if mark in self._running:
            raise IdempotencyKeyInUse(retry_after_seconds=1)
        self._running.add(mark)
        try:
            yield
        finally:
            self._running.discard(mark)
