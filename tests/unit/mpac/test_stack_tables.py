"""The stack's tables of services, tiers, variables and command lines are consistent."""

from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from api.app import ROUTERS
from mpac.cli.errors import UserError
from mpac.stack import commands, services
from mpac.stack.environment import Urls, product_environment, urls_of, with_users_own
from mpac.stack.schema import newest_revisions
from mpac.stack.secrets import Secrets, load_secrets
from mpac.stack.state_folder import open_home

PORTS = {"api": 1, "flower": 2, "sandbox": 3, "postgres": 4, "valkey": 5}


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return load_secrets(open_home(tmp_path / "state"))


def test_every_service_is_in_exactly_one_tier() -> None:
    assert sorted(part for tier in services.TIERS for part in tier) == sorted(services.ALL_SERVICES)


def test_services_that_need_the_schema_add_the_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "SOURCES", {})
    assert services.check_services(["api", "postgres"]) == ("postgres", "migrate", "api")
    assert services.check_services(["flower", "valkey"]) == ("valkey", "flower")


def test_an_unknown_or_missing_service_is_reported_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="database is not a service"):
        services.check_services(["database"])
    monkeypatch.setattr(services, "SOURCES", {"sandbox": "sandbox/absent.py"})
    with pytest.raises(UserError, match=r"sandbox can't be started: sandbox/absent\.py is not in this checkout"):
        services.check_services(["sandbox"])


def test_the_sandbox_webhook_url_is_an_existing_route_or_empty(secrets: Secrets, tmp_path: Path) -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    variables = product_environment(open_home(tmp_path / "state"), urls_of(PORTS, secrets, {}), secrets)
    path = variables.get("MPAC_SANDBOX_WEBHOOK_URL", "").partition("/api/v1")[2]
    assert not path or [route for route in routes if route.path_regex.match(path)]
    assert variables["MPAC_SANDBOX_WEBHOOK_SECRET"], "who names an address of their own gets signed events"


def test_variables_of_the_user_override_those_of_the_stack(secrets: Secrets, tmp_path: Path) -> None:
    home = open_home(tmp_path / "state")
    user = {
        "MPAC_DATABASE_URL": "postgresql://elsewhere/x",
        "MPAC_LEASE_SECONDS": "5",
        "MPAC_HOME": "/no",
        "HOME": "/h",
    }
    urls = urls_of(PORTS, secrets, user)
    merged = with_users_own(product_environment(home, urls, secrets), user)
    assert urls.database == merged["MPAC_DATABASE_URL"] == "postgresql://elsewhere/x"
    assert merged["MPAC_LEASE_SECONDS"] == "5"
    assert merged["MPAC_HOME"] == str(home.path)
    assert "HOME" not in merged


def test_services_that_were_not_requested_have_no_url(secrets: Secrets, tmp_path: Path) -> None:
    urls = urls_of({"postgres": 4}, secrets, {})
    assert urls == Urls(database=urls.database)
    assert "MPAC_BROKER_URL" not in product_environment(open_home(tmp_path / "state"), urls, secrets)


def test_no_command_line_contains_a_secret(secrets: Secrets, tmp_path: Path) -> None:
    home = open_home(tmp_path / "state")
    environment = product_environment(home, urls_of(PORTS, secrets, {}), secrets)
    product = services.ServiceInputs(home, PORTS, environment, workers=2)
    programs = [program for part in services.PRODUCT for program in services.processes_of(part, product)]
    words = " ".join(word for program in programs for word in program.command_line())
    assert not [name for name, value in secrets.values.items() if value in words]
    assert all(secrets["flower_password"] not in repr(program) for program in programs)


def test_payment_workers_have_distinct_names_and_another_worker_serves_the_other_queues(
    secrets: Secrets, tmp_path: Path
) -> None:
    home = open_home(tmp_path / "state")
    product = services.ServiceInputs(home, PORTS, product_environment(home, Urls(), secrets), workers=3)
    programs = services.processes_of("worker", product)
    assert [program.name for program in programs] == [
        *("worker-payments-1", "worker-payments-2", "worker-payments-3"),
        "worker-other",
    ]
    assert len({program.environment["WORKER_READY_FILE"] for program in programs}) == 4


def test_only_the_worker_for_other_queues_loads_the_sweeps() -> None:
    assert "mpac.stack.celery_ready_hook,beat.sweeps" in commands.worker(queues=commands.OTHER_QUEUES, name="other")
    assert "mpac.stack.celery_ready_hook" in commands.worker(queues="payments", name="payments")


def test_flower_is_read_only_by_default() -> None:
    assert "--read_only=True" in commands.flower(host="127.0.0.1", port=1)
    assert "--read_only=False" in commands.flower(host="127.0.0.1", port=1, mode="operate")


@pytest.mark.parametrize(
    ("sources", "newest"),
    [
        ([], set()),
        (['revision = "0001"\ndown_revision = None\n'], {"0001"}),
        (['revision: str = "0001"\n', 'revision: str = "0002"\ndown_revision: str | None = "0001"\n'], {"0002"}),
        (
            ['revision = "a"\n', 'revision = "b"\ndown_revision = "a"\n', "revision = 'c'\ndown_revision = 'a'\n"],
            {"b", "c"},
        ),
    ],
)
def test_the_newest_revision_is_the_one_that_no_other_revision_follows(sources: list[str], newest: set[str]) -> None:
    assert newest_revisions(sources) == newest
