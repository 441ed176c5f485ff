"""The OpenAPI document shows a terminal in each of its states, as it really looks."""

from api.schemas.terminals import EXAMPLES, FIELDS, TerminalOut
from workflows.devices.states import DeviceStatus


def test_there_is_a_good_example_of_every_state() -> None:
    assert [example["status"] for example in EXAMPLES] == list(DeviceStatus)
    for example in EXAMPLES:
        assert tuple(example) == FIELDS
        TerminalOut.model_validate(example)
    assert tuple(TerminalOut.model_fields) == FIELDS
