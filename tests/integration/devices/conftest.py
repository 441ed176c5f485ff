"""What the tests of devices share."""

import pytest

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.devices.provisioning import Provisioning


@pytest.fixture
def provisioning(api: Api, tenant: Tenant) -> Provisioning:
    """Return the steps of a terminal of ``tenant``, over HTTP."""
    return Provisioning(api, tenant)
