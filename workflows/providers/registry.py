"""Which providers there are: one table. Every name, message, schema and limit that depends on it is asked of it.

A new provider is a file beside this one, a row here, and its settings: docs/architecture.md says how.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from workflows.providers import cash, external, sandbox
from workflows.providers.base import Charge, ChargeRefund, Outcome, Provider
from workflows.providers.statement_mapping import StatementMapping
from workflows.settings import Settings


@dataclass(frozen=True, slots=True)
class Local:
    """A provider without calls: ``charge`` is a function of the terminal's report.

    ``is_reported`` says whether a company behind it sends statements, and ``mapping`` how their files are read.
    ``request_is_report`` says whether requesting a refund reports that the money has been given back already.
    """

    charge: Callable[[Charge], Outcome]
    is_reported: bool
    mapping: StatementMapping | None = None
    request_is_report: bool = False


@dataclass(frozen=True, slots=True)
class Remote:
    """Is asked over the network, and writes statements.

    ``open`` makes its connections, once per process; ``None`` where the settings name no address. ``call_seconds`` is the
    longest that one call may take, ``mapping`` how a file of its statement is read.
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
    external.NAME: Local(external.charge, is_reported=True),
    cash.NAME: Local(cash.charge, is_reported=False, request_is_report=True),
}


def is_local(name: str) -> bool:
    """Whether the provider asks nobody."""
    return isinstance(PROVIDERS.get(name), Local)


def charge_locally(name: str, charge: Charge) -> Outcome | None:
    """What a local provider says of ``charge``; ``None``: it is not local."""
    known = PROVIDERS.get(name)
    return known.charge(charge) if isinstance(known, Local) else None


def refund_locally(name: str, refund: ChargeRefund) -> Outcome | None:
    """Return a local provider's result of ``refund``, from the terminal's report; ``None``: the provider is not local."""
    return external.refund(refund) if is_local(name) else None


def request_is_report(name: str) -> bool:
    """Return whether a person has already carried out a refund at this provider when it is requested."""
    known = PROVIDERS.get(name)
    return isinstance(known, Local) and known.request_is_report


def remote_names() -> list[str]:
    """The names that a store's configuration may use."""
    return [name for name, known in PROVIDERS.items() if isinstance(known, Remote)]


def reporting_names() -> list[str]:
    """Those whose statements can be taken in."""
    return [name for name, known in PROVIDERS.items() if isinstance(known, Remote) or known.is_reported]


def mapping_of(name: str) -> StatementMapping | None:
    """How a file of the provider's statement is read before a merchant has declared another way."""
    known = PROVIDERS.get(name)
    return known.mapping if known else None


def longest_call_seconds(settings: Settings) -> float:
    """The longest that a call to any provider may take."""
    return max(known.call_seconds(settings) for known in PROVIDERS.values() if isinstance(known, Remote))


@dataclass(frozen=True)
class Providers:
    """The remote providers of one process, by name."""

    remote: dict[str, Provider] = field(default_factory=dict)

    async def close(self) -> None:
        """Give back the connections of all."""
        for provider in self.remote.values():
            await provider.close()


def open_providers(settings: Settings) -> Providers:
    """The remote providers that ``settings`` give an address for."""
    opened = {name: known.open(settings) for name, known in PROVIDERS.items() if isinstance(known, Remote)}
    return Providers({name: provider for name, provider in opened.items() if provider})
