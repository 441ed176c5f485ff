"""Routes declare numbers, booleans and timestamps of a query by types that accept a single spelling."""

from typing import Any

import pytest
from fastapi.dependencies.utils import _get_flat_fields_from_params  # includes the fields of query models
from fastapi.routing import APIRoute

from api.app import ROUTERS

READ_DIFFERENTLY = ("1_0", " 5 ", "5.0 ", "05", "+5", "yes", "on", "t", "1700000000.0", "２０２６-11-23", "0x1", "1e1")
"""Spellings that pydantic accepts as a number, boolean or timestamp, and the contract does not."""


def _parameters() -> list[tuple[str, Any]]:
    found = []
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            flat = _get_flat_fields_from_params(
                route.dependant.query_params
                + [one for each in route.dependant.dependencies for one in each.query_params]
            )
            found += [(f"{route.path}?{one.alias}", one) for one in flat]
    return found


def _takes(parameter: Any, value: str) -> bool:
    taken, errors = parameter.validate(value, {}, loc=())
    return not errors and not isinstance(taken, str)


@pytest.mark.parametrize("value", READ_DIFFERENTLY)
def test_query_value_with_an_ambiguous_spelling_is_refused(value: str) -> None:
    parameters = _parameters()
    assert len(parameters) > 50
    assert "/payments?amount_from" in dict(parameters)
    assert [name for name, parameter in parameters if _takes(parameter, value)] == []
