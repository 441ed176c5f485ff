"""The shop fixture of the settlement tests, for tests of the ledger."""

from tests.integration.settlements.conftest import shop

__all__ = ["shop"]
