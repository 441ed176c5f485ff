"""The OpenAPI document names the lowest role of each route, as the route table does."""

from tests.integration.tenants.routes import DEVICE, LEAST, OPEN
from tests.published import published_document


def test_the_document_names_the_lowest_role_of_each_route() -> None:
    documented = published_document()["paths"]
    for route, least in LEAST.items():
        method, _, path = route.partition(" ")
        operation = documented[f"/api/v1{path}"][method.lower()]
        tokens = {name for choice in operation["security"] for name in choice}
        if least == OPEN:
            assert tokens == set(), route
        elif least == DEVICE:
            assert tokens == {"deviceToken", "userToken"}, route
        else:
            assert tokens == {"userToken"}, route
            assert f"`{least}`" in operation["description"], route
