"""Check docker-compose.yml and Dockerfile as far as possible without a container engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mpac.cli.commands import command_names, load_command
from mpac.cli.commands.secrets import variables
from mpac.cli.commands.worker import ALL_QUEUES, check_queues
from mpac.stack.commands import WORKER_GRACE_SECONDS
from mpac.stack.secrets import load_secrets
from mpac.stack.state_folder import ROOT, open_home
from tests.published import published_document
from workflows.settings import Settings

FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
SETTINGS = {f"MPAC_{name.upper()}" for name in Settings.model_fields}
TOOLS = {
    "MPAC_FLOWER_USER",
    "MPAC_FLOWER_PASSWORD",
    "MPAC_SANDBOX_CONTROL_KEY",
    "MPAC_SANDBOX_WEBHOOK_URL",
    "MPAC_SANDBOX_WEBHOOK_SECRET",
}
"""Variables that only Flower's command and the sandbox's own settings read."""
INTERPOLATED = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")


def test_the_file_is_valid_by_the_compose_specification() -> None:
    checker = str(Path(sys.executable).with_name("check-jsonschema"))
    done = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", str(FILE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


HEALTH_ROUTES = {
    "api": list(published_document()["paths"]),
    "flower": ["/healthcheck"],
    "sandbox": ["/health"],
}
ADDRESS = re.compile(r"http://127\.0\.0\.1:(?P<port>\d+)(?P<path>/[\w/]*)")


def test_health_checks_use_the_address_of_their_service() -> None:
    probed = {name for name, service in OURS.items() if ADDRESS.search(str(service.get("healthcheck")))}
    assert probed == {name for name, service in OURS.items() if "ports" in service} == HEALTH_ROUTES.keys()


@pytest.mark.parametrize("name", HEALTH_ROUTES)
def test_health_checks_request_an_existing_route_at_the_port_of_their_service(name: str) -> None:
    (address,) = ADDRESS.finditer(str(OURS[name]["healthcheck"]["test"]))
    command = OURS[name]["command"]
    assert address["port"] == command[command.index("--port") + 1]
    assert address["path"] in HEALTH_ROUTES[name]


def test_compose_has_every_service_of_a_local_stack() -> None:
    assert {"postgres", "valkey", "migrate", "api", "beat", "flower", "sandbox"} < set(SERVICES)


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists_and_takes_the_given_options(name: str) -> None:
    word, *arguments = OURS[name]["command"]
    assert word in command_names()
    load_command(word).make_context(word, [str(argument) for argument in arguments])


def test_every_queue_is_consumed_by_exactly_one_worker() -> None:
    commands = [service["command"] for service in OURS.values() if service["command"][0] == "worker"]
    served = [command[command.index("--queues") + 1] for command in commands]
    for queues in served:
        check_queues(queues)
    assert sorted(",".join(served).split(",")) == sorted(ALL_QUEUES.split(","))


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_of_the_product_or_of_a_tool(name: str) -> None:
    assert set(OURS[name].get("environment", {})) <= SETTINGS | TOOLS


@pytest.mark.parametrize("name", ["api", "worker-payments", "worker-other", "beat", "flower", "migrate"])
def test_no_required_setting_is_missing(name: str) -> None:
    required = {f"MPAC_{field.upper()}" for field, info in Settings.model_fields.items() if info.is_required()}
    assert required <= set(OURS[name]["environment"])


def test_every_required_value_is_written_by_mpac_secrets(tmp_path: Path) -> None:
    written = {line.partition("=")[0] for line in variables(load_secrets(open_home(tmp_path / "home")))}
    found = list(INTERPOLATED.finditer(FILE.read_text()))
    assert found
    for variable in found:
        assert variable["rest"].startswith((":?", ":-")), f"{variable['name']} would silently be empty"
        if variable["rest"].startswith(":?"):
            assert variable["name"] in written


def test_the_compose_file_contains_no_secret() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|KEY$", name):
                assert str(value).startswith("${"), name
    assert not re.search(r"://[^$\s]*:[^$\s{]+@", FILE.read_text()), "a URL with a password in clear"


def test_every_dependency_between_services_exists() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} would wait for ever for {other}"
            if how["condition"] == "service_completed_successfully":
                assert SERVICES[other]["restart"] == "no", f"{other} would be started again when it is done"
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"], name


def test_every_long_running_service_has_a_health_check_a_limit_and_a_restart_policy() -> None:
    for name, service in SERVICES.items():
        assert service["deploy"]["resources"]["limits"], name
        if service["restart"] != "no":
            assert service["restart"] == "unless-stopped"
            assert "healthcheck" in service, name


def test_our_services_run_unprivileged_on_a_read_only_file_system() -> None:
    users = re.findall(r"^USER (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users == ["10001:10001"]
    for service in OURS.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "user" not in service


def test_ports_are_open_to_this_machine_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_workers_have_a_grace_period_as_long_as_their_calls_may_take() -> None:
    for service in OURS.values():
        if service["command"][0] == "worker":
            assert int(service["stop_grace_period"].removesuffix("s")) >= WORKER_GRACE_SECONDS


def test_the_health_check_of_a_worker_names_that_worker() -> None:
    workers = [service for service in OURS.values() if service["command"][0] == "worker"]
    for service in workers:
        how, python, dash_m, package, word, *arguments = service["healthcheck"]["test"]
        assert (how, python, dash_m, package, word) == ("CMD", "python", "-m", "mpac", "worker")
        asked = load_command(word).make_context(word, [str(argument) for argument in arguments]).params
        started = load_command(word).make_context(word, [str(argument) for argument in service["command"][1:]]).params
        assert (asked["check"], started["check"], asked["name"]) == (True, False, started["name"])
    assert workers


def test_the_image_installs_only_what_the_lock_file_pins() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"pip install (.+)$", dockerfile, re.MULTILINE) == [
        "--no-cache-dir --require-hashes --only-binary :all: --requirement requirements.lock"
    ]
    copied = set(re.findall(r"^COPY (\w+) ", dockerfile, re.MULTILINE))
    assert copied == {"api", "workers", "workflows", "beat", "migrations", "mpac", "sandbox"}
    assert "\nCOPY docs/*.md docs/\n" in dockerfile, "the API serves the guides"
