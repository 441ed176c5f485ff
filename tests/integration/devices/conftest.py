"""A fixture for the tests of devices."""

import pytest

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.devices.provisioning import Provisioning


@pytest.fixture
def provisioning(api: Api, tenant: Tenant) -> Provisioning:
    """Return a ``Provisioning`` for the store of ``tenant``."""
    return Provisioning(api, tenant)
