"""Compare the options of `up` with the stack that is already running, so that `up --detach` can report what differs."""

import os
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from mpac.stack.database_profile import DatabaseProfile
from mpac.stack.ports import ORDER, base_of
from mpac.stack.run_file import RunInfo
from mpac.stack.services import ALL_SERVICES, REPLACED_BY, check_services, missing_services

NEVER_RUNNING = "migrate"  # it has ended by now, or had nothing to do


def describe_differences(
    info: RunInfo, *, workers: int | None, ports: str | None, only: Collection[str], profile: DatabaseProfile
) -> list[str]:
    """Return a phrase for each difference between the stack and the options.

    ``None`` means that an option was not given.
    """
    found = _services(info, only)
    running = sum(1 for name in info["names"] if name.startswith("worker-payments-"))
    if workers is not None and running and workers != running:
        found.append(f"{running} workers for payments, not {workers}")
    if ports not in {None, "auto", "free"}:
        found += _ports(info, base_of(ports or ""))
    if info["realm"] != profile.database:
        found.append(f"the database {info['profile']}, not {profile.database}")
    return found


def _services(info: RunInfo, only: Collection[str], user: Mapping[str, str] = os.environ) -> list[str]:
    elsewhere = {service for variable, service in REPLACED_BY.items() if user.get(variable)}
    wanted = set(check_services(only)) if only else set(ALL_SERVICES) - missing_services(ALL_SERVICES).keys()
    running = {name.partition("-")[0] for name in info["names"]}
    missing = wanted - running - elsewhere - {NEVER_RUNNING}
    more = running - wanted - {NEVER_RUNNING} if only else set()
    return [
        *([f"without {', '.join(sorted(missing))}"] if missing else []),
        *([f"also with {', '.join(sorted(more))}"] if more else []),
    ]


def _ports(info: RunInfo, base: int) -> list[str]:
    urls = {
        "api": "api_url",
        "flower": "flower_url",
        "sandbox": "sandbox_url",
        "postgres": "database_url",
        "valkey": "broker_url",
    }
    for place, name in enumerate(ORDER):
        port = urlsplit(info[urls[name]]).port if name in info["names"] else None
        if port not in {None, base + place}:
            return [f"{name} on port {port}, not {base + place}"]
    return []
