"""Create tenants, tokens and payments for tests. A status is only reached by the events that lead to it, never written."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import orjson
import psycopg
import uuid_utils
from psycopg.rows import DictRow
from sqlalchemy import text

from mpac.stack.environment import USER_TOKENS
from tests.polling import GENEROUS_SECONDS
from workflows.clock import now
from workflows.database.engines import Role, transaction
from workflows.devices.states import DEVICE, DeviceEvent
from workflows.ids import new_id
from workflows.payments.accept import PaymentIntake
from workflows.payments.cancel import cancel_payment
from workflows.payments.check_request import PaymentRequest, PaymentSubmission
from workflows.payments.models import PaymentRow
from workflows.payments.states import PaymentStatus
from workflows.processing.executor import LeaseExecutor
from workflows.providers.registry import Providers
from workflows.refunds.intake import RefundIntake, RefundSubmission
from workflows.refunds.request import RefundRequest
from workflows.refunds.workload import PAYMENTS
from workflows.requests.idempotency import Key, StoredAnswer, fingerprint
from workflows.settings import Settings
from workflows.tenants.caller import Caller, CallerRole
from workflows.tenants.tokens import AUDIENCE, DEVICE_ISSUER
from workflows.transitions import ChangeContext, append_history, apply

SECRET = b"the tests' own"
FACTORY = ChangeContext("user", "usr_factory", now())


@dataclass(frozen=True, slots=True)
class Tenant:
    """The ids of a PSP, its merchant, a store and an active device at that store."""

    psp_id: str
    merchant_id: str
    store_id: str
    device_id: str

    @property
    def device(self) -> Caller:
        """Return the device as an API caller."""
        return Caller(self.device_id, CallerRole.DEVICE, self.psp_id, self.merchant_id, self.store_id)

    @property
    def staff(self) -> Caller:
        """Return a member of the store's staff as an API caller."""
        return Caller("usr_staff", CallerRole.STAFF, "", self.merchant_id, self.store_id)


async def new_tenant(admin: psycopg.AsyncConnection[DictRow], *, methods: str = "{card,qr}") -> Tenant:
    """Create a tenant whose store has the sandbox provider enabled for ``methods``."""
    tenant = Tenant(new_id("psp"), new_id("merchant"), new_id("store"), new_id("device"))
    await admin.execute("INSERT INTO psps (id, name) VALUES (%s, 'A PSP')", [tenant.psp_id])
    await admin.execute(
        "INSERT INTO merchants VALUES (%s, %s, 'A merchant', now(), now())", [tenant.merchant_id, tenant.psp_id]
    )
    await admin.execute(
        "INSERT INTO stores VALUES (%s, %s, 'A store', 'JPY', 'Asia/Tokyo', '00:00', now(), now())",
        [tenant.store_id, tenant.merchant_id],
    )
    await admin.execute(
        "INSERT INTO store_providers VALUES (%s, %s, %s, 'sandbox', %s, 1, true, null, now(), now())",
        [new_id("store_provider"), tenant.merchant_id, tenant.store_id, methods],
    )
    await register_device(admin, tenant, device_id=tenant.device_id)
    await move_device(tenant, tenant.device_id, DeviceEvent.ACTIVATE)
    return tenant


async def register_device(
    admin: psycopg.AsyncConnection[DictRow], tenant: Tenant, *, device_id: str | None = None
) -> str:
    """Register a device that is not activated yet, and return its id."""
    device_id = device_id or new_id("device")
    await admin.execute(
        """INSERT INTO devices (id, merchant_id, store_id, serial_number, name, model, status, version, created_at)
           VALUES (%s, %s, %s, %s, 'A terminal', 'S-Pitt Air', %s, 1, now())""",
        [device_id, tenant.merchant_id, tenant.store_id, uuid_utils.uuid7().hex, DEVICE.initial[0]],
    )
    row = {"id": device_id, "version": 1, "merchant_id": tenant.merchant_id, "store_id": tenant.store_id}
    async with transaction(Role.ACCEPT) as connection:
        history = {**row, "status": DEVICE.initial[0]}
        await append_history(connection, DEVICE, history, event="create", source=None, by=FACTORY)
    return device_id


async def move_device(tenant: Tenant, device_id: str, *events: DeviceEvent) -> None:
    """Apply ``events`` to a device, as the use-cases do."""
    for event in events:
        keys = {"client_id": device_id, "public_key_pem": "a key"} if event is DeviceEvent.ACTIVATE else {}
        async with transaction(Role.CALLER) as connection:
            await connection.execute(text("SELECT set_config('mpac.scope', 'system', true)"))
            await apply(connection, DEVICE, entity_id=device_id, event=event, by=FACTORY, changes=keys)


class Signer:
    """Issue tokens that are signed with a stack's keys."""

    def __init__(self, secrets: Path) -> None:
        self._user_key = (secrets / "user-token-key.pem").read_bytes()
        self._device_key = (secrets / "device-token-key.pem").read_bytes()
        self._kid: str = orjson.loads((secrets / "user-jwks.json").read_bytes())["keys"][0]["kid"]

    def user(self, tenant: Tenant, *, role: str = "staff", **claims: Any) -> str:
        """Return a token of the login system for a user of ``tenant``."""
        body = {
            "iss": USER_TOKENS["MPAC_USER_TOKEN_ISSUER"],
            "aud": USER_TOKENS["MPAC_USER_TOKEN_AUDIENCE"],
            "sub": f"usr_{role}",
            "role": role,
            "psp_id": tenant.psp_id,
            "merchant_id": tenant.merchant_id,
            "store_id": tenant.store_id,
            "exp": now() + timedelta(hours=1),
            **claims,
        }
        return jwt.encode(body, self._user_key, algorithm="ES256", headers={"kid": self._kid})

    def device(self, tenant: Tenant, **claims: Any) -> str:
        """Return an access token for the tenant's device."""
        body = {
            "iss": DEVICE_ISSUER,
            "aud": AUDIENCE,
            "sub": tenant.device_id,
            "exp": now() + timedelta(minutes=2),
            "psp_id": tenant.psp_id,
            "merchant_id": tenant.merchant_id,
            "store_id": tenant.store_id,
            **claims,
        }
        return jwt.encode(body, self._device_key, algorithm="ES256")


CASH = PaymentRequest(
    amount=1_000,
    currency="JPY",
    tip_amount=0,
    method_type="cash",
    method_mode=None,
    processing_mode="manual",
    provider="cash",
    facts={"cash_received": 1_000, "change_amount": 0},
    expires_in_seconds=300,
)
QR = replace(CASH, method_type="qr", method_mode="cpm", processing_mode="provider", provider="sandbox", facts={})
"""A QR payment by the customer's code, which the provider charges at once."""
TERMINAL = replace(
    CASH,
    method_type="card",
    processing_mode="external",
    provider="external",
    facts={"external_result": "approved", "approval_code": "A1"},
)


def submission(
    request: PaymentRequest, caller: Caller, *, key: str | None = None, body: bytes = b"{}"
) -> PaymentSubmission:
    """Build the submission of ``request`` for the use-case; ``key`` is random by default."""
    return PaymentSubmission(request, caller, build_key(caller, "/payments", value=key, body=body), new_id("request"))


def build_key(caller: Caller, path: str, *, value: str | None = None, body: bytes = b"{}") -> Key:
    """Build the ``Key`` of a POST to ``path``; ``value`` is random by default."""
    hashed = fingerprint(body, secret=SECRET)
    return Key(value or uuid_utils.uuid7().hex, "POST", f"/api/v1{path}", caller.identity, hashed, f"{hashed}:")


WHY = {"reason": "the soup was cold", "staff_code": "s-7"}
"""The required fields of a refund request."""


def refund_key(payment_id: str, caller: Caller, *, value: str | None = None, body: bytes = b"{}") -> Key:
    """Build the ``Key`` of a POST /payments/{id}/refund; ``value`` is random by default."""
    return build_key(caller, f"/payments/{payment_id}/refund", value=value, body=body)


async def submit_refund(
    payment_id: str,
    amount: int | None = None,
    *,
    caller: Caller,
    key: Key | None = None,
    grace_seconds: float = 0,
    **rest: Any,
) -> StoredAnswer:
    """Request a refund as POST /payments/{id}/refund does; without ``amount``, refund the rest."""
    intake = RefundIntake(nudge_grace_seconds=grace_seconds, timeout_seconds=GENEROUS_SECONDS)
    return await intake.accept_refund(
        RefundSubmission(
            payment_id,
            RefundRequest(amount, **{**WHY, **rest}),
            caller,
            key or refund_key(payment_id, caller),
            new_id("request"),
        )
    )


async def time_passes(
    admin: psycopg.AsyncConnection[DictRow], row_id: str, *, seconds: float, entity: str = "payment"
) -> None:
    """Simulate that ``seconds`` passed for one payment or refund: move all its timestamps into the past."""
    columns = ["due_at", "lease_until", "in_doubt_since", "created_at", "processing_at"]
    if entity == "payment":
        columns.append("expires_at")
    of_attempts = ["sent_at", "not_found_at"]
    for table, key, names in ((f"{entity}s", "id", columns), (f"{entity}_attempts", f"{entity}_id", of_attempts)):
        earlier = ", ".join(f"{name} = {name} - make_interval(secs => %(seconds)s)" for name in names)
        statement = f"UPDATE {table} SET {earlier} WHERE {key} = %(id)s"
        await admin.execute(statement.encode(), {"id": row_id, "seconds": seconds})


class PaymentMaker:
    """Create payments of one tenant and bring them into a status, through use-cases only."""

    def __init__(self, settings: Settings, providers: Providers, tenant: Tenant) -> None:
        self.tenant = tenant
        self.accepting = PaymentIntake(
            nudge_grace_seconds=settings.nudge_grace_seconds,
            timeout_seconds=30,
            renders_answers=settings.render_answers,
        )
        self.processor = LeaseExecutor(PAYMENTS, settings=settings, providers=providers, worker="worker-of-the-test")

    async def pending(self, request: PaymentRequest = QR, **changes: Any) -> str:
        """Create a pending payment and return its id."""
        stored: StoredAnswer = await self.accepting.accept_payment(
            submission(replace(request, **changes), self.tenant.device)
        )
        assert stored.resource_id is not None
        return stored.resource_id

    async def process(self, *payment_ids: str) -> None:
        """Process payments as a worker does after a nudge."""
        await self.processor.process(list(payment_ids))

    async def in_status(self, status: PaymentStatus) -> str:
        """Create a payment, bring it into ``status`` and return its id.

        ``processing`` and ``refunded`` are not supported; tests of refunds reach the latter by ``refund_helpers``.
        """
        if status is PaymentStatus.PENDING:
            return await self.pending()
        if status is PaymentStatus.CANCELLED:
            payment_id = await self.pending()
            await self.cancel(payment_id)
            return payment_id
        request = {
            PaymentStatus.COMPLETED: CASH,
            PaymentStatus.FAILED: replace(TERMINAL, facts={"external_result": "declined"}),
            PaymentStatus.PROCESSING: QR,
        }[status]
        payment_id = await self.pending(request)
        if status is PaymentStatus.PROCESSING:
            raise NotImplementedError("say which: see tests that hold the provider or script its answer")
        await self.process(payment_id)
        return payment_id

    async def cancel(self, payment_id: str, **rest: Any) -> PaymentRow:
        """Cancel a payment as a cashier does."""
        wanted: dict[str, Any] = {"reason": None, "on_too_late": None, "request_id": new_id("request"), **rest}
        return await cancel_payment(payment_id, caller=self.tenant.device, payments=PAYMENTS, **wanted)
