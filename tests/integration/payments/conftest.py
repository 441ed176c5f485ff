"""What takes payments in."""

import pytest

from tests.factories import PaymentMaker
from workflows.payments.accept import Accepting


@pytest.fixture
def accepting(payments: PaymentMaker) -> Accepting:
    return payments.accepting
