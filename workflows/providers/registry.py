"""Define the table of all providers. Every name, message, schema and limit that depends on a provider is derived from it.

A new provider needs a module in this package, a row in the table, and its settings (see docs/architecture.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from workflows.providers import local, sandbox
from workflows.providers.base import Charge, ChargeRefund, Outcome, Provider
from workflows.providers.statement_mapping import StatementMapping
from workflows.settings import Settings


@dataclass(frozen=True, slots=True)
class Local:
    """A provider without network calls. ``charge`` computes the answer from the terminal's report.

    ``has_statements`` tells whether a company behind the provider sends statements, and ``mapping`` how their files are read.
    ``request_is_report`` tells whether a refund is requested only after it was carried out, as with cash. Such a refund needs
    no separate report.
    """

    charge: Callable[[Charge], Outcome]
    has_statements: bool
    mapping: StatementMapping | None = None
    request_is_report: bool = False


@dataclass(frozen=True, slots=True)
class Remote:
    """A provider that is called over the network and sends statements.

    ``open`` creates its client, once per process, or returns ``None`` if the settings name no address. ``call_seconds``
    returns the longest duration of a call. ``mapping`` tells how a file of its statement is read.
    """

    open: Callable[[Settings], Provider | None]
    call_seconds: Callable[[Settings], float]
    mapping: StatementMapping | None = None


PROVIDERS: Mapping[str, Local | Remote] = {
    sandbox.NAME: Remote(
        open=sandbox.SandboxProvider.open,
        call_seconds=lambda settings: settings.sandbox_timeout_seconds,
        mapping=sandbox.MAPPING,
    ),
    local.EXTERNAL: Local(local.charge_external, has_statements=True),
    local.CASH: Local(local.charge_cash, has_statements=False, request_is_report=True),
}


def is_local(name: str) -> bool:
    """Return whether the provider is local, so that it needs no network call."""
    return isinstance(PROVIDERS.get(name), Local)


def charge_locally(name: str, charge: Charge) -> Outcome | None:
    """Return a local provider's outcome of ``charge``, or ``None`` if the provider is not local."""
    known = PROVIDERS.get(name)
    return known.charge(charge) if isinstance(known, Local) else None


def refund_locally(name: str, refund: ChargeRefund) -> Outcome | None:
    """Return a local provider's outcome of ``refund``, or ``None`` if the provider is not local."""
    return local.refund(refund) if is_local(name) else None


def request_is_report(name: str) -> bool:
    """Return whether refunds at this provider are carried out before they are requested, as with cash."""
    known = PROVIDERS.get(name)
    return isinstance(known, Local) and known.request_is_report


def remote_names() -> list[str]:
    """Return the names of remote providers, which a store's configuration may use."""
    return [name for name, known in PROVIDERS.items() if isinstance(known, Remote)]


def reporting_names() -> list[str]:
    """Return the names of providers whose statements can be imported."""
    return [name for name, known in PROVIDERS.items() if isinstance(known, Remote) or known.has_statements]


def mapping_of(name: str) -> StatementMapping | None:
    """Return the mapping for the provider's statement files, which a merchant may replace."""
    known = PROVIDERS.get(name)
    return known.mapping if known else None


def longest_call_seconds(settings: Settings) -> float:
    """Return the longest duration of a call to any provider."""
    return max(known.call_seconds(settings) for known in PROVIDERS.values() if isinstance(known, Remote))


@dataclass(frozen=True)
class Providers:
    """The remote providers of one process, by name."""

    remote: dict[str, Provider] = field(default_factory=dict)

    async def close(self) -> None:
        """Close the connections of all providers."""
        for provider in self.remote.values():
            await provider.close()


def open_providers(settings: Settings) -> Providers:
    """Create the remote providers that have an address in ``settings``."""
    opened = {name: known.open(settings) for name, known in PROVIDERS.items() if isinstance(known, Remote)}
    return Providers({name: provider for name, provider in opened.items() if provider})
