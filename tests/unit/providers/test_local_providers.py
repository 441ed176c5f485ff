"""Local providers answer without a network call."""

from typing import Any

import pytest

from workflows.providers import local
from workflows.providers.base import Charge, Declined, Succeeded

ARN, SLIP = "74537604221000123456789", "000123"


def reported(**facts: Any) -> Charge:
    """Return the charge of a terminal sale, with the result that its card application reported."""
    return Charge("pay_1:1", "pay_1", 1_000, "JPY", "card", None, 300.0, terminal_data=facts)


@pytest.mark.parametrize(
    ("facts", "reference"),
    [({"card_arn": ARN, "slip_number": SLIP}, ARN), ({"slip_number": SLIP}, SLIP), ({}, None)],
    ids=str,
)
def test_a_reported_card_sale_has_the_references_of_its_terminal(facts: dict[str, str], reference: str | None) -> None:
    answer = local.charge_external(reported(external_result="approved", **facts))
    assert answer == Succeeded(amount=1_000, provider_reference=reference)


def test_a_sale_not_reported_as_approved_is_declined() -> None:
    assert isinstance(local.charge_external(reported(external_result="declined", card_arn=ARN)), Declined)
