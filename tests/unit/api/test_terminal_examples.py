"""The OpenAPI examples of terminals cover each status and have all fields."""

from api.openapi.examples.terminals import TERMINALS
from api.schemas.terminals import TerminalOut
from tests.contract_schemas import fields
from workflows.devices.states import DeviceStatus


def test_terminal_examples_are_valid_and_cover_every_status() -> None:
    assert list(TERMINALS) == list(DeviceStatus)
    for status, (_, example) in TERMINALS.items():
        assert example["status"] == status
        assert tuple(example) == fields("terminal")
        TerminalOut.model_validate(example)
    assert tuple(TerminalOut.model_fields) == fields("terminal")
