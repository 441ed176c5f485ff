"""An activation code works once, for fifteen minutes and five tries, and wrong codes reveal nothing."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from mpac.stack.keys import new_private_key
from tests.factories import Tenant
from tests.harness import Answer, Api
from tests.integration.devices.provisioning import Provisioning, Terminal
from workflows.clock import now
from workflows.devices.activation import CODE_ALPHABET

WRONG = "ABCDEFGH2345"
Admin = psycopg.AsyncConnection[DictRow]


def _is_the_refusal(answer: Answer) -> bool:
    return (answer.status, answer.code, answer.details) == (401, "AUTHENTICATION_ERROR", [])


async def _kept(admin: Admin, terminal: Terminal) -> dict[str, Any]:
    rows = await admin.execute("SELECT * FROM activation_codes WHERE device_id = %s", [terminal.device_id])
    found = await rows.fetchone()
    assert found is not None
    return found


async def test_code_has_twelve_characters_lives_fifteen_minutes_and_is_stored_as_a_hash(
    provisioning: Provisioning, admin: Admin
) -> None:
    terminal = await provisioning.register()
    answer = await provisioning.ask_code(terminal)
    code = answer.body["activation_code"]
    assert len(code) == 12
    assert set(code) <= set(CODE_ALPHABET)
    left = datetime.fromisoformat(answer.body["expires_at"]) - now()
    assert timedelta(minutes=14, seconds=50) < left <= timedelta(minutes=15, seconds=1)
    assert code not in str(await _kept(admin, terminal))


async def test_a_code_activates_once(provisioning: Provisioning) -> None:
    terminal = await provisioning.register()
    code = await provisioning.code(terminal)
    first = await provisioning.activate(terminal, code)
    assert first.status == 200
    assert first.body == {"device_id": terminal.device_id, "client_id": first.body["client_id"], "status": "active"}
    assert _is_the_refusal(await provisioning.activate(terminal, code, public_key_pem=_new_public_key()))
    assert (await provisioning.read(terminal)).body["version"] == 2


async def test_an_activation_whose_answer_was_lost_is_repeated_with_the_same_answer(
    provisioning: Provisioning, admin: Admin
) -> None:
    terminal = await provisioning.register()
    code = await provisioning.code(terminal)
    first = await provisioning.activate(terminal, code)
    typed_again = f"{code[:6].lower()} {code[6:]}"
    crlf = terminal.public_key_pem.replace("\n", "\r\n")
    for again in (
        await provisioning.activate(terminal, code),
        await provisioning.activate(terminal, typed_again, public_key_pem=crlf),
    ):
        assert (again.status, again.raw) == (200, first.raw)
    assert (await provisioning.read(terminal)).body["version"] == 2
    assert _is_the_refusal(await provisioning.activate(terminal, WRONG))
    assert _is_the_refusal(await provisioning.activate(terminal, code, serial_number="another"))
    await admin.execute("UPDATE activation_codes SET expires_at = now() WHERE device_id = %s", [terminal.device_id])
    assert _is_the_refusal(await provisioning.activate(terminal, code))


async def test_an_activation_is_not_repeated_with_a_code_that_was_replaced(provisioning: Provisioning) -> None:
    terminal = await provisioning.register()
    code = await provisioning.code(terminal)
    assert (await provisioning.activate(terminal, code)).status == 200
    await provisioning.code(terminal)
    assert _is_the_refusal(await provisioning.activate(terminal, code))


async def test_exactly_one_of_ten_concurrent_keys_with_one_code_is_installed(provisioning: Provisioning) -> None:
    terminal, _ = await provisioning.active()
    code = await provisioning.code(terminal)
    keys = [_new_public_key() for _ in range(10)]
    answers = await asyncio.gather(*(provisioning.activate(terminal, code, public_key_pem=key) for key in keys))
    assert sorted(answer.status for answer in answers) == [200] + [401] * 9
    winner = next(key for key, answer in zip(keys, answers, strict=True) if answer.status == 200)
    assert (await provisioning.activate(terminal, code, public_key_pem=winner)).status == 200


def _new_key() -> str:
    return new_private_key().decode()


def _new_public_key() -> str:
    return Terminal("", "", _new_key()).public_key_pem


async def test_ten_concurrent_uses_of_an_activation_code_activate_once(provisioning: Provisioning) -> None:
    terminal = await provisioning.register()
    code = await provisioning.code(terminal)
    answers = await asyncio.gather(*(provisioning.activate(terminal, code) for _ in range(10)))
    assert {(answer.status, answer.raw) for answer in answers} == {(200, answers[0].raw)}
    assert (await provisioning.read(terminal)).body["version"] == 2


async def test_code_is_accepted_in_lower_case_with_spaces_and_hyphens(provisioning: Provisioning) -> None:
    terminal = await provisioning.register()
    code = (await provisioning.code(terminal)).lower()
    assert (await provisioning.activate(terminal, f"{code[:4]}-{code[4:8]} {code[8:]}")).status == 200


async def test_code_still_works_after_four_wrong_tries(provisioning: Provisioning, admin: Admin) -> None:
    terminal = await provisioning.register()
    code = await provisioning.code(terminal)
    for tries in range(1, 5):
        assert _is_the_refusal(await provisioning.activate(terminal, WRONG))
        assert (await _kept(admin, terminal))["tries"] == tries  # committed, although the answer is an error
    assert (await provisioning.activate(terminal, code)).status == 200


async def test_the_code_is_invalid_after_five_wrong_tries(provisioning: Provisioning) -> None:
    terminal = await provisioning.register()
    code = await provisioning.code(terminal)
    for _ in range(5):
        assert _is_the_refusal(await provisioning.activate(terminal, WRONG))
    assert _is_the_refusal(await provisioning.activate(terminal, code))
    assert (await provisioning.read(terminal)).body["status"] == "pending_activation"


async def test_concurrent_wrong_tries_are_all_counted(provisioning: Provisioning, admin: Admin) -> None:
    terminal = await provisioning.register()
    code = await provisioning.code(terminal)
    await asyncio.gather(*(provisioning.activate(terminal, WRONG) for _ in range(5)))
    assert (await _kept(admin, terminal))["tries"] == 5
    assert _is_the_refusal(await provisioning.activate(terminal, code))


async def test_a_new_activation_code_replaces_the_old_code_and_its_tries(provisioning: Provisioning) -> None:
    terminal = await provisioning.register()
    old = await provisioning.code(terminal)
    for _ in range(5):
        await provisioning.activate(terminal, WRONG)
    new = await provisioning.code(terminal)
    assert _is_the_refusal(await provisioning.activate(terminal, old))
    assert (await provisioning.activate(terminal, new)).status == 200


async def test_an_expired_code_is_refused(provisioning: Provisioning, admin: Admin) -> None:
    terminal = await provisioning.register()
    code = await provisioning.code(terminal)
    # The database's clock decides, so the test back-dates the row.
    await admin.execute("UPDATE activation_codes SET expires_at = now() WHERE device_id = %s", [terminal.device_id])
    assert _is_the_refusal(await provisioning.activate(terminal, code))


async def test_unknown_device_and_wrong_code_get_the_same_answer(provisioning: Provisioning) -> None:
    known, waiting, (active, _) = (
        await provisioning.register(),
        await provisioning.register(),
        await provisioning.active(),
    )
    await provisioning.code(known)
    answers = [
        await provisioning.activate(known, WRONG),
        await provisioning.activate(waiting, WRONG),  # no code was generated for this terminal
        await provisioning.activate(active, WRONG),
        await provisioning.activate(known, WRONG, serial_number="no such device"),
        await provisioning.activate(waiting, await provisioning.code(known)),  # a valid code of another device
    ]
    assert {(answer.status, answer.raw) for answer in answers} == {(401, answers[0].raw)}


async def test_a_key_of_the_wrong_kind_costs_no_try(provisioning: Provisioning, admin: Admin) -> None:
    terminal = await provisioning.register()
    code = await provisioning.code(terminal)
    answer = await provisioning.activate(terminal, code, public_key_pem="no key")
    assert (answer.status, answer.details[0]["field"]) == (422, "public_key_pem")
    assert (await _kept(admin, terminal))["tries"] == 0
    assert (await provisioning.activate(terminal, code)).status == 200


@pytest.mark.parametrize("field", ["activation_code", "serial_number", "public_key_pem", "device"])
async def test_missing_or_unknown_field_is_named_in_the_answer(api: Api, field: str) -> None:
    body = {"activation_code": WRONG, "serial_number": "x", "public_key_pem": "x"}
    body = {name: value for name, value in body.items() if name != field} if field in body else {**body, field: "x"}
    answer = await api.post("/device/provision/activate", body)
    assert answer.status == 422
    assert answer.details[0]["field"] == field


async def test_the_status_of_an_activation_can_be_followed(provisioning: Provisioning, tenant: Tenant) -> None:
    terminal = await provisioning.register()
    path = f"/device/provision/activationStatus?device_id={terminal.device_id}"
    waiting = await provisioning.api.get(path, as_=provisioning.manager)
    assert (waiting.status, waiting.body["status"]) == (200, "pending_activation")
    await provisioning.activate(terminal, await provisioning.code(terminal))
    assert (await provisioning.api.get(path, as_=provisioning.manager)).body["status"] == "active"
    assert (await provisioning.api.get("/device/provision/activationStatus", as_=provisioning.manager)).status == 400
