"""Follow payments through API, broker, worker, beat and provider, as a terminal sees them."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import jwt
import pytest
import uuid_utils
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.clients.generated import python_client, typescript_client
from tests.clients.tools import succeed
from tests.harness import Answer
from tests.live_stack import RECOVERY_SECONDS, LiveStack
from tests.polling import eventually

WITHIN_SECONDS = RECOVERY_SECONDS


async def follow(live: LiveStack, created: Answer, *, until: str) -> dict[str, Any]:
    """Wait for new versions of a payment until its status is ``until``.

    Check that versions never go backwards.
    """
    assert created.status == 201, created.raw
    seen: dict[str, Any] = created.body
    async with asyncio.timeout(WITHIN_SECONDS):
        while seen["status"] != until:
            path = f"/payments/{seen['id']}?wait=5&since_version={seen['version']}"
            newer = (await live.api.get(path, as_=live.staff)).body
            assert newer["version"] >= seen["version"]
            seen = newer
    return seen


async def test_cash_is_completed_with_its_change(live: LiveStack) -> None:
    created = await live.api.pay(live.staff, method={"type": "cash", "cash_received": 2_000})
    done = await follow(live, created, until="completed")
    assert (done["change_amount"], done["captured_amount"]) == (1_000, 1_000)


@pytest.mark.parametrize(("result", "status"), [("approved", "completed"), ("declined", "failed")])
async def test_the_result_of_the_terminals_own_card_application_is_recorded(
    live: LiveStack, result: str, status: str
) -> None:
    method = {"type": "card", "result": result, "card_brand": "visa", "card_last_4": "1111"}
    done = await follow(live, await live.api.pay(live.staff, method=method), until=status)
    assert (done["processing_mode"], done["card_last_4"]) == ("external", "1111")
    assert bool(done["failure_code"]) == (status == "failed")


async def test_a_customers_code_is_charged_once_by_the_provider(live: LiveStack) -> None:
    done = await follow(live, await live.api.pay(live.staff, method={"type": "qr", "mode": "cpm"}), until="completed")
    assert done["card_brand"] is None  # a customer's QR code is not a card
    assert done["provider_reference"]
    assert await live.charges(done["id"]) == [1_000]


async def test_a_merchants_code_is_shown_until_the_customer_pays(live: LiveStack) -> None:
    created = await live.api.pay(live.staff, method={"type": "qr", "mode": "mpm"})
    shown = await eventually(
        lambda: live.api.get(f"/payments/{created.body['id']}", as_=live.staff),
        until=lambda answer: answer.body["next_action"] is not None,
        within=WITHIN_SECONDS,
    )
    assert (shown.body["status"], shown.body["next_action"]["type"]) == ("processing", "display_qr")
    assert shown.body["next_action"]["qr_content"]
    assert await live.charges(shown.body["id"]) == []
    paid = await live.sandbox("POST", f"/v1/codes/{shown.body['id']}:1/pay")
    assert paid.status == 200
    done = await follow(live, created, until="completed")
    assert done["next_action"] is None
    assert await live.charges(done["id"]) == [1_000]


async def test_a_code_that_waits_is_cancelled_and_can_no_longer_be_paid(live: LiveStack) -> None:
    created = await live.api.pay(live.staff, method={"type": "qr", "mode": "mpm"})
    payment_id = created.body["id"]
    await eventually(
        lambda: live.row(payment_id), until=lambda row: row["next_action"] is not None, within=WITHIN_SECONDS
    )
    asked = await live.api.post(f"/payments/{payment_id}/cancel", {"reason": "changed his mind"}, as_=live.staff)
    assert (asked.status, asked.body["cancel_requested_at"] is not None) == (200, True)
    done = await follow(live, created, until="cancelled")
    assert (done["cancel_reason"], done["cancel_outcome"]) == ("changed his mind", "cancelled")
    assert (await live.sandbox("POST", f"/v1/codes/{payment_id}:1/pay")).status == 409
    assert await live.charges(payment_id) == []


async def test_a_qr_code_that_is_not_scanned_expires(live: LiveStack) -> None:
    created = await live.api.pay(live.staff, method={"type": "qr", "mode": "mpm"}, expires_in=2)
    done = await follow(live, created, until="cancelled")
    assert done["cancel_reason"] in ("expired", "withdrawn_by_provider")


async def test_a_decline_of_the_provider_fails_the_payment_with_its_code(live: LiveStack) -> None:
    created = await live.api.pay(
        live.staff, method={"type": "qr", "mode": "cpm"}, metadata={"sandbox": "decline:insufficient_funds"}
    )
    done = await follow(live, created, until="failed")
    assert done["failure_code"] == "insufficient_funds"
    assert await live.charges(done["id"]) == []


@pytest.mark.parametrize("fate", ["unavailable:2", "rate_limited:2"])
async def test_a_provider_that_is_unavailable_twice_is_called_again(live: LiveStack, fate: str) -> None:
    payment_id = await live.pay(fate=fate)
    await live.wait_for_status(payment_id, "completed", within=WITHIN_SECONDS)
    attempts = await live.sql("SELECT outcome, resends FROM payment_attempts WHERE payment_id = %s", payment_id)
    assert [(attempt["outcome"], attempt["resends"]) for attempt in attempts] == [("succeeded", 2)]
    assert await live.charges(payment_id) == [1_000]


@pytest.mark.parametrize(
    "fate",
    ["timeout_after_charge", "error_500_after_charge", "reset_after_charge", "garbage_after_charge", "slow:4000"],
)
async def test_a_payment_whose_answer_was_lost_is_inquired_about_and_charged_once(live: LiveStack, fate: str) -> None:
    payment_id = await live.pay(fate=fate)
    row = await eventually(
        lambda: live.row(payment_id),
        until=lambda row: not row["outcome_known"] or row["status"] == "completed",
        within=WITHIN_SECONDS,
    )
    assert row["status"] in ("processing", "completed")
    await live.wait_for_status(payment_id, "completed", within=WITHIN_SECONDS)
    assert await live.charges(payment_id) == [1_000]
    assert "doubt" in await live.events([payment_id])
    assert "inquiry" in await live.messages(payment_id)


async def test_a_payment_that_is_pending_at_the_provider_is_completed_later(live: LiveStack) -> None:
    payment_id = await live.pay(fate="pending:1500")
    await live.wait_for_status(payment_id, "completed", within=WITHIN_SECONDS)
    assert await live.charges(payment_id) == [1_000]


async def test_a_payment_that_was_charged_only_in_part_needs_review(live: LiveStack) -> None:
    payment_id = await live.pay(fate="partial:400")
    row = await eventually(
        lambda: live.row(payment_id), until=lambda row: bool(row["needs_review"]), within=WITHIN_SECONDS
    )
    assert (row["status"], row["failure_code"]) == ("processing", "amount_mismatch")


async def test_flower_shows_tasks_only_with_its_password(live: LiveStack) -> None:
    payment_id = await live.pay()
    user, password = live.stack.flower_auth
    url = f"{live.stack.urls.flower}/api/tasks?limit=500"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as refused:
            assert refused.status == 401

        async def tasks() -> dict[str, Any]:
            async with session.get(url, headers={"Authorization": aiohttp.encode_basic_auth(user, password)}) as answer:
                assert answer.status == 200
                found: dict[str, Any] = await answer.json()
                return found

        found = await eventually(tasks, until=lambda seen: payment_id in json.dumps(seen), within=WITHIN_SECONDS)
        mine = [task for task in found.values() if payment_id in (task["args"] or "")]  # `None` until its event arrives
        assert {task["name"] for task in mine} == {"payments.process"}
        doubt = await live.pay(fate="timeout_after_charge")

        def told(seen: dict[str, Any]) -> set[tuple[str, str]]:
            return {(task["state"], task["result"]) for task in seen.values() if doubt in (task["args"] or "")}

        # The call ends long after the task returned its thread. Only then is the task reported, and not as a success.
        found = await eventually(tasks, until=lambda seen: ("RETRY", "1 in doubt") in told(seen), within=WITHIN_SECONDS)
        assert ("SUCCESS", "1 in doubt") not in told(found)
        named = [task for task in found.values() if task["name"]]  # `None` until its event arrives, as above
        quiet = [task for task in named if task["name"].partition(".")[0] in ("sweeps", "canaries")]
        assert [task for task in quiet if task["state"] == "SUCCESS" and not task["result"]] == []
        assert "canaries.sing" not in {task["name"] for task in quiet}
        stop = f"{live.stack.urls.flower}/api/worker/shutdown/celery@x"
        async with session.post(stop, headers={"Authorization": aiohttp.encode_basic_auth(user, password)}) as pressed:
            assert pressed.status in (401, 403, 404, 405), "Flower is to be looked at, not to be pressed"


async def test_one_request_id_is_found_from_the_request_to_the_worker(live: LiveStack) -> None:
    created = await live.api.pay(
        live.staff, method={"type": "qr", "mode": "cpm"}, headers={"X-Request-Id": "till-3.trace-1"}
    )
    await follow(live, created, until="completed")
    assert created.headers["X-Request-Id"] == "till-3.trace-1"
    logs = live.stack.home.logs

    async def said() -> tuple[bool, bool]:
        """Return whether the API's log and the worker's log contain the request id.

        In the worker's log, the id must be in a line about the payment.
        """
        of_api, of_worker = ((logs / f"{name}.log").read_text() for name in ("api", "worker-payments-1"))
        lines = [json.loads(line) for line in of_worker.rpartition("\n")[0].splitlines() if "till-3.trace-1" in line]
        return "till-3.trace-1" in of_api, created.body["id"] in {line.get("payment_id") for line in lines}

    await eventually(said, until=all, within=WITHIN_SECONDS)
    rows = await live.sql("SELECT DISTINCT request_id FROM payment_history WHERE payment_id = %s", created.body["id"])
    assert rows == [{"request_id": "till-3.trace-1"}]


async def test_a_new_terminal_is_activated_and_takes_a_payment(live: LiveStack) -> None:
    manager = live.api.signer.user(live.tenant, role="store_manager")
    serial = f"SN-{uuid_utils.uuid7().hex[:8]}-x"
    body = {"store_id": live.tenant.store_id, "serial_number": serial, "name": "Till 1", "model": "S-Pitt Air"}
    device = await live.api.post("/terminals", body, as_=manager)
    assert (device.status, device.body["status"]) == (201, "pending_activation")
    code = await live.api.post(
        "/device/provision/generateActivationCode", {"device_id": device.body["id"]}, as_=manager
    )
    assert code.status == 201
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    activated = await live.api.post(
        "/device/provision/activate",
        {"activation_code": code.body["activation_code"], "serial_number": serial, "public_key_pem": pem},
    )
    assert (activated.status, activated.body["status"]) == (200, "active")
    client_id = activated.body["client_id"]
    now = int((await live.sql("SELECT extract(epoch FROM now())::bigint AS now"))[0]["now"])
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": f"{live.api.url}/api/v1/auth/device/token",
        "jti": uuid_utils.uuid7().hex,
        "iat": now,
        "exp": now + 60,
    }
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode(claims, key, algorithm="ES256"),
    }
    answer = await live.api.post(
        "/auth/device/token", urlencode(form).encode(), headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status == 200, answer.raw
    paid = await live.api.pay(answer.body["access_token"])
    assert (paid.status, paid.body["device_id"]) == (201, device.body["id"])
    await live.wait_for_status(paid.body["id"], "completed", within=WITHIN_SECONDS)


async def test_a_generated_typescript_client_pays_refunds_and_handles_an_error(live: LiveStack, tmp_path: Path) -> None:
    document = (await live.api.get("/openapi.json")).raw
    program = await asyncio.to_thread(typescript_client, document, tmp_path)
    said = await asyncio.to_thread(succeed, ["node", program, live.api.url, live.staff], cwd=tmp_path)
    assert said.splitlines() == [
        "payment completed Paid 1200",
        "refund completed 200",
        "events new>pending pending>processing processing>completed completed>refunded",
        "found 1 200 null",
        "refused 422 look up the first one",
    ]


async def test_a_generated_python_client_pays_refunds_and_handles_an_error(live: LiveStack, tmp_path: Path) -> None:
    document = (await live.api.get("/openapi.json")).raw
    python, program = await asyncio.to_thread(python_client, document, tmp_path)
    said = await asyncio.to_thread(succeed, [python, program, live.api.url, live.staff], cwd=tmp_path)
    assert said.splitlines() == [
        "payment completed 1200",
        "refund completed 200",
        "found 1 200",
        "refused IDEMPOTENCY_KEY_REUSED",
    ]
