"""One of several concurrent requests to requeue or close a dead letter succeeds; its task is published once."""

from datetime import timedelta
from typing import Any

import pytest

from tests.factories import PaymentMaker
from tests.integration.payments.evidence import Admin, evidence
from tests.integration.workers.test_dead_letters import quarantined
from workflows.errors import InvalidStatusTransition
from workflows.ops.dead_letters import close_dead_letter, requeue_dead_letter
from workflows.tenants.caller import Caller, CallerRole


async def test_letter_that_is_being_requeued_is_neither_published_twice_nor_closed(
    payments: PaymentMaker, admin: Admin
) -> None:
    payment_id, letter_id = await quarantined(payments, admin)
    operator = Caller("usr_operator", CallerRole.SYSTEM_OP)
    published: list[str] = []

    async def publish(task: str, _arguments: list[Any]) -> None:
        published.append(task)
        for other in (
            requeue_dead_letter(letter_id, publish=publish, caller=operator, request_id="req_2"),
            close_dead_letter(letter_id, reason="r", caller=operator),
        ):
            with pytest.raises(InvalidStatusTransition) as refused:
                await other
            assert "Another request is requeuing" in refused.value.details[0].issue

    await requeue_dead_letter(letter_id, publish=publish, caller=operator, request_id="req_1")
    assert published == ["payments.process"]
    assert (await evidence(admin, payment_id)).events.count("requeue") == 1


async def test_letter_can_be_requeued_after_the_process_that_reserved_it_died(
    payments: PaymentMaker, admin: Admin
) -> None:
    _, letter_id = await quarantined(payments, admin)
    operator = Caller("usr_operator", CallerRole.SYSTEM_OP)

    async def publish(_task: str, _arguments: list[Any]) -> None:
        """Accept the message, and send nothing."""

    reserve = "UPDATE dead_letters SET requeue_until = now() + %s WHERE id = %s"
    await admin.execute(reserve, [timedelta(minutes=1), letter_id])
    with pytest.raises(InvalidStatusTransition):
        await requeue_dead_letter(letter_id, publish=publish, caller=operator, request_id="req_1")
    await admin.execute(reserve, [timedelta(0), letter_id])
    await requeue_dead_letter(letter_id, publish=publish, caller=operator, request_id="req_1")
