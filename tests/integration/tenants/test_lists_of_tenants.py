"""Each list shows a caller the rows of its own tenant only, whichever filters it names (F35).

The tests only read, so they share one planted database and one API per combination of filters.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from mpac.stack.local_stack import LocalStack
from tests.factories import Signer
from tests.harness import Api, clone_of_template, running_api
from tests.integration.tenants.planted_database import FILTERS, STORE_ROLES, planted_database, token, use_filters
from tests.integration.tenants.routes import LEAST, LISTS, roles_from
from tests.published import published_document
from workflows.settings import Settings

QUERIES = (
    "",
    "?store_id=store-b",
    "?device_id=device-b",
    "?merchant_id=merchant-b",
    "?payment_id=payment-b",
    "?needs_review=false",
    "?outcome_known=false",
    "?overdue=true",
    "?overdue=false",
    "?provider=sandbox",
    "?provider_reference=provider_reference-b",
    "?card_last_4=0000",
    "?amount_from=0",
    f"?cursor={'z' * 80}",
)


@pytest.fixture(scope="module", params=FILTERS)
async def exposed(
    request: pytest.FixtureRequest, stack: LocalStack, settings: Settings, engines: None, signer: Signer
) -> AsyncIterator[Api]:
    """Run the API on a planted database.

    The rows have arbitrary text in every column, so answers about them are not compared with the OpenAPI document.
    """
    async with clone_of_template(stack.urls.database) as url:
        async with planted_database(url) as admin:
            await use_filters(admin, request.param)
        own = settings.model_copy(update={"database_url": SecretStr(url)})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.harness.check_exchange", lambda *_: None)
            async with running_api(own, signer, usual=settings) as api:
                yield api


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    """Return the operations of the OpenAPI document, by path."""
    paths: dict[str, Any] = published_document()["paths"]
    return paths


@pytest.mark.parametrize("route", [route for route in LISTS if LEAST[route] != "system_op"])
async def test_a_list_shows_only_rows_of_the_callers_tenant(
    exposed: Api, route: str, documented: dict[str, Any]
) -> None:
    method, path = route.split(" ")
    declared = documented[f"/api/v1{path}"]["get"].get("parameters", ())
    names = {one["name"] for one in declared if one["in"] == "query"}
    for role in roles_from(LEAST[route]):
        for query in QUERIES:
            answer = await exposed.call(method, path + query, as_=token(exposed, role))
            is_filter = not query or query[1:].partition("=")[0] in names
            assert answer.status == (200 if is_filter else 400), answer.raw
            assert b"-b" not in answer.raw, (role, query)
            if role in STORE_ROLES:
                assert b"-next" not in answer.raw, (role, query)
                assert b"store-n" not in answer.raw, (role, query)
        assert b"-a" in (await exposed.call(method, path, as_=token(exposed, role))).raw, role
    everything = await exposed.call(method, f"{path}?limit=200", as_=token(exposed, "system_op"))
    assert b"-b" in everything.raw  # proves that the lists above could have shown it
