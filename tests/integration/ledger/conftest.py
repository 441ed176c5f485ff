"""The shop of the settlements' tests: what it sells is posted."""

from tests.integration.settlements.conftest import shop

__all__ = ["shop"]
