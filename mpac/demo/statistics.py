"""Count what happens at the terminals while they sell, and render the table at the end.

Times are those of a terminal: from the first request of a sale to the answer 201, and until it knows the final status.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table

from mpac.demo.problems import Problem
from mpac.demo.process_age import seconds_since_command
from mpac.demo.sales import Behaviour, Method, Sale

FINAL = ("completed", "failed", "cancelled")
LOST = frozenset({Behaviour.LOST_THEN_REPEATED, Behaviour.LOST_THEN_FOUND})
CANCELS = frozenset({Behaviour.CANCEL_AT_ONCE, Behaviour.CANCEL_SHOWN, Behaviour.CANCEL_AS_PAID})


@dataclass(slots=True)
class MethodStatistics:
    """Counts and latencies of one payment method; times are in milliseconds."""

    submitted: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    post_ms: list[float] = field(default_factory=list)
    final_ms: list[float] = field(default_factory=list)


class SalesStatistics:
    """Counts and latencies of all sales, and the problems that the terminals met."""

    def __init__(self) -> None:
        self.lines: dict[Method, MethodStatistics] = defaultdict(MethodStatistics)
        self.begun: set[str] = set()  # client_reference of each sale whose request was sent
        self.accepted: dict[str, str] = {}  # payment id → client_reference
        self.open: dict[str, bool] = {}  # payment id → whether its outcome was in doubt in the last answer
        self.incidents: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self.first_completed_after_seconds: float | None = None

    def add(self, problem: Problem) -> None:
        """Add a problem that a terminal met."""
        self.problems.append(problem)

    def note_begun(self, sale: Sale) -> None:
        """Record that a sale's request is about to be sent: from now on its payment may exist."""
        self.begun.add(sale.reference)

    def note_accepted(self, sale: Sale, payment_id: str, *, post_ms: float) -> None:
        """Record that the payment of a sale was created (201).

        ``post_ms`` is ignored if the first answer was lost on purpose, because it then includes the retry.
        """
        line = self.lines[sale.kind.method]
        line.submitted += 1
        if sale.kind.behaviour not in LOST:
            line.post_ms.append(post_ms)
        self.accepted[payment_id] = sale.reference
        self.open[payment_id] = False
        self._count_incidents(sale)

    def note_final(self, sale: Sale, payment_id: str, *, status: str, final_ms: float) -> None:
        """Record the final status of a payment."""
        line = self.lines[sale.kind.method]
        line.by_status[status] += 1
        line.final_ms.append(final_ms)
        del self.open[payment_id]
        if status == "completed" and self.first_completed_after_seconds is None:
            self.first_completed_after_seconds = seconds_since_command()

    def total(self, status: str) -> int:
        """Return the number of payments with this final status."""
        return sum(line.by_status[status] for line in self.lines.values())

    def numbers(self) -> str:
        """Return the counts in one line, for the live display."""
        doubts = sum(self.open.values())
        parts = [f"{len(self.accepted):,} accepted", *(f"{self.total(status):,} {status}" for status in FINAL)]
        parts.append(f"{len(self.open):,} open ({doubts:,} in doubt)")
        return " · ".join(parts)

    def _count_incidents(self, sale: Sale) -> None:
        kind = sale.kind
        self.incidents["double taps"] += kind.behaviour is Behaviour.DOUBLE_TAP
        self.incidents["lost answers"] += kind.behaviour in LOST
        self.incidents["cancels"] += kind.behaviour in CANCELS
        self.incidents["declines"] += kind.fate.startswith("decline") or kind.is_declined_by_terminal
        self.incidents["provider answers that never came or made no sense"] += kind.fate.endswith("_charge") or (
            kind.fate.startswith("not_found_lie")
        )
        self.incidents["refusals by a busy provider"] += kind.fate.startswith(("unavailable", "rate_limited"))


COLUMNS = ("submitted", *FINAL, "in\ndoubt", "POST\nP50", "(ms)\nP99", "final\nP50", "(s)\nP99")


def as_table(statistics: SalesStatistics, *, doubts: dict[Method, int], gap: int = 1) -> Table:
    """Return a table with the numbers of payments and with the latencies, by method.

    The numbers are those of submitted, final and in-doubt payments. ``doubts`` is the number of payments of each method
    that were ever in doubt, from the history.
    """
    table = Table(box=None, header_style="bold", padding=(0, gap, 0, 0), pad_edge=False)
    table.add_column("method", no_wrap=True, vertical="bottom")
    for name in COLUMNS:
        table.add_column(name, justify="right", vertical="bottom", no_wrap=True)
    whole = MethodStatistics(submitted=len(statistics.accepted))
    for method in Method:
        if method in statistics.lines:
            line = statistics.lines[method]
            _add(table, method, line, doubts.get(method, 0))
            whole.by_status += line.by_status
            whole.post_ms += line.post_ms
            whole.final_ms += line.final_ms
    _add(table, "all", whole, sum(doubts.values()), style="bold")
    return table


def _add(table: Table, name: str, line: MethodStatistics, doubts: int, *, style: str = "") -> None:
    counts = (line.submitted, *(line.by_status[status] for status in FINAL), doubts)
    posts = (f"{percentile(line.post_ms, share):.0f}" for share in (50, 99))
    finals = (_seconds(percentile(line.final_ms, share)) for share in (50, 99))
    table.add_row(name, *(f"{value:,}" for value in counts), *posts, *finals, style=style)


def _seconds(milliseconds: float) -> str:
    seconds = milliseconds / 1_000
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}"  # noqa: PLR2004 - four digits fit the column


def percentile(values: Sequence[float], share: int) -> float:
    """Return the value that ``share`` percent do not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)] if ordered else 0.0
