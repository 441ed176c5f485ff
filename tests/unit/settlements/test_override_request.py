"""An override request accepts only existing dates, written in ASCII digits."""

import pytest
from pydantic import ValidationError

from api.schemas.settlements import OverrideIn
from workflows.errors import InvalidRequest

TONIGHT = {"business_date": "2026-11-23", "ends_at_local": "2026-11-24T03:00"}


def test_an_override_to_three_in_the_morning_is_accepted() -> None:
    request = OverrideIn.model_validate(TONIGHT).to_request()
    assert (request.business_date.isoformat(), request.ends_at_local.isoformat()) == (
        "2026-11-23",
        "2026-11-24T03:00:00",
    )


@pytest.mark.parametrize(("field", "value"), [("business_date", "2026-02-30"), ("ends_at_local", "2026-02-30T03:00")])
def test_a_date_that_does_not_exist_is_reported_for_its_field(field: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        OverrideIn.model_validate({**TONIGHT, field: value}).to_request()
    assert [detail.field for detail in refusal.value.details] == [field]


@pytest.mark.parametrize(
    ("field", "value"), [("business_date", "２０２６-11-23"), ("ends_at_local", "2026-11-24T0٣:00")]
)
def test_a_date_in_digits_of_other_scripts_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        OverrideIn.model_validate({**TONIGHT, field: value})
