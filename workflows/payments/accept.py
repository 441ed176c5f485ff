"""Accept: record a pending payment, its history and its idempotency record in one transaction.

| phase | what                                                                                                      |
|-------|-----------------------------------------------------------------------------------------------------------|
| look  | one statement for the whole group: is the key known, the device active, the store theirs, the provider on? |
| write | one statement for all that may be accepted; a conflict that appeared meanwhile has the group go one by one  |

Concurrent requests share a commit (``workflows.gather``): a lone one never waits, fifty cost little more than one. The
answer is sent after that commit only, so a 201 always means: it is stored, and it will become final.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database import Role, rows_parameter, transaction, violated
from workflows.errors import (
    Detail,
    DomainError,
    DuplicateResource,
    IdempotencyKeyInUse,
    InvalidRequest,
    ResourceNotFound,
)
from workflows.gather import Gather
from workflows.idempotency import KEY_LIFE, Key, Stored, replay
from workflows.ids import new_id
from workflows.payments.present import payment_fields
from workflows.payments.states import PAYMENT
from workflows.rendering import render
from workflows.tenants.caller import Caller, CallerRole, Scope, device_not_active

GROUP_LIMIT = 100
"""Requests per transaction: beyond this a group gains little and makes its first wait for its last."""

LANES = 2
"""Groups under way at once: one is being committed while the next is being rendered."""


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """What a terminal asks for, already valid in itself. Amounts are minor units of ``currency``."""

    amount: int
    currency: str | None
    tip_amount: int
    method_type: str
    method_mode: str | None
    processing_mode: str
    provider: str | None
    facts: dict[str, Any]
    expires_in_seconds: int
    store_id: str | None = None
    bill_id: str | None = None
    client_reference: str | None = None
    on_too_late: str | None = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One request on its way into the database."""

    request: PaymentRequest
    caller: Caller
    key: Key
    request_id: str


_LOOK = text("""
    -- look: everything that decides about a request, for the whole group; no row where the store is not the caller's
    -- LATERAL and LIMIT 1 leave no other plan than the whole key of an index: plans are kept, and one that was made while
    -- the tables were small walked through all keys and payments of the merchant (2.0 ms instead of 0.3 per payment)
    SELECT i.n, s.id AS store_id, s.merchant_id, s.currency, d.status AS device_status, now() AS now,
           k.fingerprint, k.status AS stored_status, k.body AS stored_body, k.resource_id,
           k.expires_at <= now() AS key_expired,
           (SELECT sp.provider FROM store_providers sp
            WHERE sp.store_id = s.id AND sp.enabled AND i.capability = ANY (sp.methods)
              AND (i.provider IS NULL OR sp.provider = i.provider)
            ORDER BY sp.priority, sp.provider LIMIT 1) AS provider,
           (SELECT true FROM payments p WHERE p.merchant_id = s.merchant_id AND p.client_reference = i.client_reference
            LIMIT 1) AS reference_taken
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(n integer, scope text, psp_id text, merchant_id text, store_id text,
        device_id text, capability text, provider text, client_reference text, method text, path text, key text)
    JOIN stores s ON s.id = i.store_id AND CASE i.scope
        WHEN 'store' THEN s.merchant_id = i.merchant_id
        WHEN 'merchant' THEN s.merchant_id = i.merchant_id
        WHEN 'psp' THEN psp_of(s.merchant_id) = i.psp_id
        ELSE i.scope = 'system' END
    LEFT JOIN devices d ON d.id = i.device_id
    LEFT JOIN LATERAL (
        SELECT fingerprint, status, body, resource_id, expires_at FROM idempotency_records
        WHERE merchant_id = s.merchant_id AND key = i.key AND path = i.path AND method = i.method LIMIT 1
    ) k ON true
""")

_COLUMNS = """
    id, merchant_id, store_id, device_id, bill_id, status, version, amount, tip_amount, currency, method_type, method_mode,
    processing_mode, provider, provider_token, approval_code, card_brand, card_last_4, entry_method, slip_number, card_arn,
    external_result, cash_received, change_amount, client_reference, metadata, on_too_late, due_at, request_id, expires_at,
    created_at"""
"""The columns an accept decides; all others begin with their defaults, so a newer schema accepts an older process."""

_WRITE = text(f"""
    -- write: the key, the payment and its first history row, for every request of the group; any conflict undoes all
    WITH payment AS (
        INSERT INTO payments ({_COLUMNS})
        SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::payments, CAST(:payments AS jsonb))
        RETURNING id, merchant_id, store_id, created_at, request_id
    ), history AS (
        INSERT INTO payment_history (payment_id, version, merchant_id, store_id, event, to_status, at, caller_type,
                                     caller_id, request_id)
        SELECT p.id, 1, p.merchant_id, p.store_id, 'create', 'pending', p.created_at, k.caller_type, k.caller_id, p.request_id
        FROM payment p JOIN jsonb_to_recordset(CAST(:keys AS jsonb)) AS k(resource_id text, caller_type text, caller_id text)
            ON k.resource_id = p.id
    )
    INSERT INTO idempotency_records (merchant_id, method, path, key, fingerprint, status, body, resource_id, created_at,
                                     expires_at)
    SELECT merchant_id, method, path, key, fingerprint, 201, body, resource_id, created_at, expires_at
    FROM jsonb_populate_recordset(NULL::idempotency_records, CAST(:keys AS jsonb))
""")

_FORGET = text("""
    -- forget: keys older than their replay window, which the sweep has not thrown away yet
    DELETE FROM idempotency_records k USING jsonb_to_recordset(CAST(:keys AS jsonb)) AS i(
        merchant_id text, method text, path text, key text)
    WHERE k.merchant_id = i.merchant_id AND k.method = i.method AND k.path = i.path AND k.key = i.key
      AND k.expires_at <= now()
""")


class Accepting:
    """Takes payments in. One per process; lives on one event loop."""

    def __init__(self, *, nudge_grace_seconds: float) -> None:
        self._grace = timedelta(seconds=nudge_grace_seconds)
        self._gather: Gather[Acceptance, Stored] = Gather(self._flush, limit=GROUP_LIMIT, lanes=LANES)
        self._running: set[tuple[str, str, str, str]] = set()

    async def accept_payment(self, acceptance: Acceptance) -> Stored:
        """Record a pending payment, or find the answer that its key was given before.

        Returns the status and body to answer with. Raises ``NotAuthorized`` (device not active), ``ResourceNotFound``
        (store or bill), ``InvalidRequest`` (no such provider here), ``DuplicateResource`` (client reference),
        ``IdempotencyKeyInUse``, ``IdempotencyKeyReused``, ``ServiceUnavailable``.
        """
        store_of(acceptance)  # raised to this caller alone: within the group it would be everybody's error
        mark = (acceptance.caller.merchant_id or acceptance.caller.psp_id, *acceptance.key.identity)
        if mark in self._running:
            raise IdempotencyKeyInUse(retry_after_seconds=1)
        self._running.add(mark)
        try:
            return await self._gather.put(acceptance)
        finally:
            self._running.discard(mark)

    async def _flush(self, group: list[Acceptance]) -> list[Stored | BaseException]:
        try:
            async with transaction(Role.ACCEPT) as connection:
                return await self._accept(connection, group)
        except IntegrityError as error:
            if len(group) > 1:  # somebody else's conflict must not be this one's error
                return [(await self._flush([acceptance]))[0] for acceptance in group]
            return await self._settle_conflict(group[0], error)
        except DomainError as error:
            return [error] * len(group)

    async def _settle_conflict(self, acceptance: Acceptance, error: DBAPIError) -> list[Stored | BaseException]:
        """Another process was quicker by a moment: its row is there now, so a second look finds it."""
        if violated(error) not in ("idempotency_records_pkey", "payments_client_reference_key"):
            raise error
        async with transaction(Role.ACCEPT) as connection:
            return await self._accept(connection, [acceptance])

    async def _accept(self, connection: AsyncConnection, group: list[Acceptance]) -> list[Stored | BaseException]:
        asked = [_question(number, acceptance) for number, acceptance in enumerate(group)]
        found = {row["n"]: row for row in (await connection.execute(_LOOK, {"rows": rows_parameter(asked)})).mappings()}
        results: list[Stored | BaseException] = []
        payments: list[dict[str, Any]] = []
        keys: list[dict[str, Any]] = []
        references: set[tuple[str, str]] = set()
        for number, acceptance in enumerate(group):
            try:
                fact = _judge(acceptance, found.get(number), references)
                known = _known_answer(acceptance, fact)
                if known:
                    results.append(known)
                    continue
                payment, key = self._rows(acceptance, fact)
            except DomainError as error:
                results.append(error)
                continue
            payments.append(payment)
            keys.append(key)
            results.append(Stored(201, key["body"].encode(), resource_id=payment["id"], is_replay=False))
        if payments:
            if any(fact["key_expired"] for fact in found.values()):
                await connection.execute(_FORGET, {"keys": rows_parameter(keys)})
            parameters = {"payments": rows_parameter(payments), "keys": rows_parameter(keys)}
            await connection.execute(_WRITE, parameters)
        return results

    def _rows(self, acceptance: Acceptance, fact: RowMapping) -> tuple[dict[str, Any], dict[str, Any]]:
        """The payment and its idempotency record, ready to be written."""
        request, caller, now = acceptance.request, acceptance.caller, fact["now"]
        payment = _payment_row(request, fact)
        payment["device_id"] = caller.id if caller.role is CallerRole.DEVICE else None
        payment["request_id"] = acceptance.request_id
        payment["due_at"] = now + self._grace
        key = {
            **acceptance.key.row(),
            "merchant_id": fact["merchant_id"],
            "resource_id": payment["id"],
            "body": render(payment_fields(payment)).decode(),
            "created_at": now,
            "expires_at": now + KEY_LIFE,
            "caller_type": caller.type,
            "caller_id": caller.id,
        }
        return payment, key


def _payment_row(request: PaymentRequest, fact: RowMapping) -> dict[str, Any]:
    now: datetime = fact["now"]
    return {
        "id": new_id("payment"),
        "merchant_id": fact["merchant_id"],
        "store_id": fact["store_id"],
        "bill_id": request.bill_id,
        "status": PAYMENT.initial[0],
        "version": 1,
        "amount": request.amount,
        "tip_amount": request.tip_amount,
        "currency": request.currency or fact["currency"],
        "captured_amount": 0,
        "refunded_amount": 0,
        "refund_reserved": 0,
        "method_type": request.method_type,
        "method_mode": request.method_mode,
        "processing_mode": request.processing_mode,
        "provider": fact["provider"] if request.processing_mode == "provider" else request.provider,
        "client_reference": request.client_reference,
        "metadata": request.metadata or {},
        "on_too_late": request.on_too_late,
        "outcome_known": True,
        "needs_review": False,
        "expires_at": now + timedelta(seconds=request.expires_in_seconds),
        "created_at": now,
        **request.facts,
    }


def _question(number: int, acceptance: Acceptance) -> dict[str, Any]:
    request, caller = acceptance.request, acceptance.caller
    return {
        "n": number,
        "scope": caller.scope,
        "psp_id": caller.psp_id,
        "merchant_id": caller.merchant_id,
        "store_id": store_of(acceptance),
        "device_id": caller.id if caller.role is CallerRole.DEVICE else None,
        "capability": request.method_type if request.processing_mode == "provider" else None,
        "provider": request.provider,
        "client_reference": request.client_reference,
        "method": acceptance.key.method,
        "path": acceptance.key.path,
        "key": acceptance.key.value,
    }


def store_of(acceptance: Acceptance) -> str:
    """The store a payment is for: the caller's own, or the one a caller above the stores names.

    Raises ``InvalidRequest`` where such a caller names none, ``ResourceNotFound`` where a store's caller names another.
    """
    caller, asked = acceptance.caller, acceptance.request.store_id
    if caller.scope is not Scope.STORE:
        if not asked:
            raise InvalidRequest(Detail("store_id", "Say for which store this is"))
        return asked
    if asked and asked != caller.store_id:
        raise ResourceNotFound(Detail("store_id", "There is no such store"))
    return caller.store_id


def _judge(acceptance: Acceptance, fact: RowMapping | None, references: set[tuple[str, str]]) -> RowMapping:
    """Raise what speaks against this request; ``references`` are those that the group itself brings."""
    request, caller = acceptance.request, acceptance.caller
    if caller.role is CallerRole.DEVICE and (fact is None or fact["device_status"] != "active"):
        raise device_not_active(fact["device_status"] if fact else None)
    if fact is None:
        raise ResourceNotFound(Detail("store_id", "There is no such store"))
    if fact["stored_status"] is not None and not fact["key_expired"]:
        return fact  # known already: what would speak against it now has no say any more
    if request.bill_id:
        raise ResourceNotFound(Detail("bill_id", "There is no such bill in this store"))
    if request.processing_mode == "provider" and fact["provider"] is None:
        wanted = request.provider or "any provider"
        raise InvalidRequest(
            Detail("method.provider", f"This store has {wanted} not enabled for {request.method_type} payments")
        )
    if request.client_reference:
        reference = (fact["merchant_id"], request.client_reference)
        if fact["reference_taken"] or reference in references:
            raise DuplicateResource(
                Detail("client_reference", "Already used; find its payment with GET /payments?client_reference=…")
            )
        references.add(reference)
    return fact


def _known_answer(acceptance: Acceptance, fact: RowMapping) -> Stored | None:
    if fact["stored_status"] is None or fact["key_expired"]:
        return None
    return replay(acceptance.key, fact["fingerprint"], fact["stored_status"], fact["stored_body"])
