"""Look up, in one statement, what decides about each request of a group that creates payments or orders.

Payments and orders put ``LOOKUP_COLUMNS``, ``LOOKUP_RESULT`` and ``LOOKUP_JOINS`` into their own statement. It finds the
store, the status of the device and the answer that was stored for the idempotency key. ``InFlightKeys`` prevents this process
from running two requests with the same key at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workflows.database.connection import Row
from workflows.errors import Detail, IdempotencyKeyInUse, ResourceNotFound
from workflows.requests.idempotency import ANSWER, OWNER, Key, StoredAnswer, replay
from workflows.tenants.caller import Caller, CallerRole, device_not_active_error
from workflows.tenants.scope import scope_condition

LOOKUP_COLUMNS = """n integer, scope text, psp_id text, merchant_id text, store_id text, device_id text, client_id text,
        method text, path text, key text, alternative text, caller text"""
"""The columns of the rows that ``lookup_row`` returns. The statement must name these rows ``i``."""

KEY_RESULT = """k.is_mine IS FALSE AS is_taken,
           CASE WHEN k.is_known THEN k.fingerprint ELSE b.fingerprint END AS fingerprint,
           CASE WHEN k.is_known THEN k.meaning ELSE b.meaning END AS meaning,
           CASE WHEN k.is_known THEN k.status ELSE b.status END AS status,
           CASE WHEN k.is_known THEN k.body ELSE b.body END AS body,
           CASE WHEN k.is_known THEN k.recipe ELSE b.recipe END AS recipe,
           CASE WHEN k.is_known THEN k.resource_id ELSE b.resource_id END AS resource_id"""
"""What the look-up finds for the key of each request, from ``KEY_JOINS``."""

LOOKUP_RESULT = f"""i.n, s.id AS store_id, s.merchant_id, s.currency, d.status AS device_status, now() AS now,
           {KEY_RESULT}"""

KEY_JOINS = f"""LEFT JOIN LATERAL (
        SELECT {ANSWER}, coalesce({OWNER.format("r")} = i.caller, false) AS is_mine,
               expires_at > now() AND {OWNER.format("r")} = i.caller AS is_known
        FROM idempotency_records r
        WHERE merchant_id = s.merchant_id AND key = i.key AND path = i.path AND method = i.method
        LIMIT 1
    ) k ON true
    LEFT JOIN LATERAL (
        SELECT {ANSWER} FROM idempotency_records
        WHERE merchant_id = s.merchant_id AND key = i.alternative AND path = i.path AND method = i.method
          AND expires_at > now()
        LIMIT 1
    ) b ON true"""
"""The joins that find the record of each request's key, which is stored under the merchant ``s.merchant_id``."""

# devices is a table of a higher layer. It is read here, so that the device's status takes no round trip of its own.
LOOKUP_JOINS = f"""
    JOIN LATERAL (
        SELECT id, merchant_id, currency, time_zone, cut_off FROM stores WHERE id = i.store_id LIMIT 1
    ) s ON {scope_condition(merchant_id="s.merchant_id", store_id="s.id", caller="i.")}
    LEFT JOIN LATERAL (
        SELECT CASE WHEN i.client_id IN ('', client_id) THEN status ELSE 'replaced' END AS status
        FROM devices WHERE id = i.device_id LIMIT 1
    ) d ON true
    {KEY_JOINS}"""
"""The joins of the look-up. They find no row if the caller may not see the store.

``i.store_id`` is the requested store. If the caller belongs to a store, it is the caller's store (``resolve_store``), so the
tenant rule can compare with it. ``k`` is the record under the key itself, which may be another caller's. ``b`` is the caller's
own record under its alternative key (``workflows.requests.idempotency``). LATERAL and LIMIT 1 force an index look-up by the
whole key. Without them, a plan that was cached while the tables were small walked through all keys of the merchant (2.0 ms
instead of 0.3).
"""


def lookup_row(number: int, caller: Caller, key: Key, *, store_id: str) -> dict[str, Any]:
    """Return the values of ``LOOKUP_COLUMNS`` for request ``number`` of a group."""
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
        "alternative": key.alternative_key,
        "caller": key.caller,
    }


def check_caller(caller: Caller, context: Row | None) -> Row:
    """Check a request's caller against ``context``, the look-up's row, and return ``context``.

    Raises ``NotAuthorized`` if the caller is a device that is not active, and ``ResourceNotFound`` if there is no row, because
    the caller sees no such store.
    """
    if caller.role is CallerRole.DEVICE and (context is None or context["device_status"] != "active"):
        raise device_not_active_error(context["device_status"] if context else None)
    if context is None:
        raise ResourceNotFound(Detail("store_id", "There is no such store"))
    return context


def known_answer(key: Key, context: Row, *, currency: str | None) -> StoredAnswer | None:
    """Return the answer that the look-up found for the request's key, or ``None``.

    ``currency`` is the store's currency, which applies to a body without a currency. Raises ``IdempotencyKeyReused``.
    """
    return None if context["status"] is None else replay(key, context, currency=currency)


class InFlightKeys:
    """The idempotency keys of the requests that run in this process.

    Requests that run in different processes collide in the database instead.
    """

    def __init__(self) -> None:
        self._running: set[tuple[str, ...]] = set()

    @contextmanager
    def running(self, caller: Caller, key: Key) -> Iterator[None]:
        """Mark ``key`` as running during the ``with`` block.

        Raises ``IdempotencyKeyInUse`` if another request with the same key is running.
        """
        mark = (caller.merchant_id or caller.psp_id, *key.identity)
        if mark in self._running:
            raise IdempotencyKeyInUse(retry_after_seconds=1)
        self._running.add(mark)
        try:
            yield
        finally:
            self._running.discard(mark)
