"""A row of the provider table is enough to add a provider: all code that names providers reads the table."""

import pytest
from pydantic import TypeAdapter, ValidationError

from api.schemas.provider_names import StatementProvider, StoreProvider
from tests.fakes import FakeProvider
from workflows.processing.leases import longest_step
from workflows.providers.base import Charge, Declined
from workflows.providers.registry import (
    PROVIDERS,
    Local,
    Remote,
    charge_locally,
    is_local,
    open_providers,
    remote_names,
    reporting_names,
)
from workflows.providers.statement_mapping import StatementMapping
from workflows.reconciliation.statements.parse_file import default_mapping
from workflows.settings import Settings

MAPPING = StatementMapping(columns={"our_reference": "Your reference", "amount": "Gross", "currency": "Currency"})
SETTINGS = Settings.model_validate(
    {
        "database_url": "postgresql://nobody@127.0.0.1:1/none",
        "broker_url": "redis://127.0.0.1:1/0",
        "secret_key": "of a test",
        "sandbox_url": "http://127.0.0.1:1",
        "statement_timeout_ms": 1_000,
    }
)


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    """Add a remote provider to the table, and return it."""
    provider = FakeProvider("acme")
    row = Remote(open=lambda _settings: provider, call_seconds=lambda _settings: 25, mapping=MAPPING)
    monkeypatch.setitem(PROVIDERS, "acme", row)
    return provider


@pytest.fixture
def vouchers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a local provider without statements to the provider table."""
    monkeypatch.setitem(PROVIDERS, "vouchers", Local(lambda _charge: Declined("spent"), has_statements=False))


@pytest.mark.parametrize("name", remote_names())
async def test_a_remote_provider_has_the_same_name_in_the_table_and_in_its_adapter(name: str) -> None:
    providers = open_providers(SETTINGS)
    assert providers.remote[name].name == name
    await providers.close()


def test_a_provider_without_an_address_is_not_opened() -> None:
    assert "sandbox" not in open_providers(SETTINGS.model_copy(update={"sandbox_url": None})).remote


@pytest.mark.parametrize(
    "named", [TypeAdapter(StoreProvider), TypeAdapter(StatementProvider)], ids=["store", "statement"]
)
def test_a_provider_of_the_table_is_accepted_by_schemas_and_listed_in_messages(
    acme: FakeProvider, named: TypeAdapter[str]
) -> None:
    assert named.validate_python("acme") == "acme"
    assert "acme" in named.json_schema()["enum"]
    with pytest.raises(ValidationError, match=r"Must be one of sandbox, .*acme"):
        named.validate_python("nobody")


def test_a_provider_of_the_table_is_opened_covered_by_leases_and_its_files_are_mapped(acme: FakeProvider) -> None:
    assert open_providers(SETTINGS).remote["acme"] is acme
    assert longest_step(SETTINGS).total_seconds() == 26  # its longest call plus one database statement
    assert default_mapping("acme", ["Your reference", "Gross", "Currency"]) is MAPPING


def test_a_local_provider_is_charged_locally_and_not_offered_to_stores_or_statements(vouchers: None) -> None:
    charge = Charge("pay_1:1", "pay_1", 1_000, "JPY", "voucher", None, 300.0)
    assert (is_local("vouchers"), charge_locally("vouchers", charge)) == (True, Declined("spent"))
    assert "vouchers" not in {*remote_names(), *reporting_names(), *open_providers(SETTINGS).remote}


def test_an_unknown_provider_name_is_not_local() -> None:
    charge = Charge("pay_1:1", "pay_1", 1_000, "JPY", "qr", "cpm", 300.0)
    assert (is_local("gone"), charge_locally("gone", charge)) == (False, None)
