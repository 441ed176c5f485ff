"""A fixture for tests that send raw bytes to the API."""

import pytest

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.api.raw_http import Wire


@pytest.fixture
def wire(api: Api, tenant: Tenant) -> Wire:
    return Wire(api, tenant)
