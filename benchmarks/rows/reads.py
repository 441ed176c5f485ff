"""``reads``: what a read costs, and what the rarer writes cost: a bill, its split, a refund.

| requests                 | how                                                                                        |
|--------------------------|--------------------------------------------------------------------------------------------|
| GET of one row           | a closed loop of 64 terminals; each reads rows of its own store                            |
| a page of 50 payments    | a closed loop of 8                                                                         |
| bill, split, refund      | each order, bill and payment once, 64 at a time; a refund costs until it is final          |

CPU time is that of all processes of the product and its servers, without the stand-in provider.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.frame import Row, Run
from benchmarks.goals import Figures, Goal
from benchmarks.report import medians_of
from benchmarks.requests_load import Kind
from benchmarks.till_data import NO_OPEN_REFUND, Tills, request_figures, require_success

DEVICES, STORES = 64, 16


@dataclass(frozen=True, slots=True)
class ReadsPlan:
    """The number of rows, and the duration of each closed loop."""

    rounds: int = 3
    rows: int = 3_000  # orders, bills and payments
    in_flight: int = 64
    pages_in_flight: int = 8
    writes_in_flight: int = 64
    warm_up: float = 1.0
    seconds: float = 5.0


QUICK = ReadsPlan(rounds=1, rows=90, in_flight=8, pages_in_flight=2, writes_in_flight=4, warm_up=0.2, seconds=0.5)

Ids = list[tuple[str, int]]
READS: dict[str, tuple[str, Callable[[Ids], Kind]]] = {
    "GET payment": (
        "payments",
        lambda ids: Kind([["GET", f"/api/v1/payments/{each}", till, ""] for each, till in ids]),
    ),
    "GET bill": ("bills", lambda ids: Kind([["GET", f"/api/v1/bills/{each}", till, ""] for each, till in ids])),
    "GET order": ("orders", lambda ids: Kind([["GET", f"/api/v1/orders/{each}", till, ""] for each, till in ids])),
    "page of 50": (
        "payments",
        lambda _: Kind([["GET", "/api/v1/payments?limit=50", till, ""] for till in range(DEVICES)]),
    ),
}
"""What is read → the table with the ids, and the function that makes its requests."""

PAGE = "page of 50"
SPLIT = '{"parts":2}'
REFUND = '{"amount":300,"reason":"returned goods","staff_code":"7"}'


async def measure(run: Run, plan: ReadsPlan) -> Figures:
    """Create rows, measure writes and reads in rounds, and return the medians."""
    async with run.stack() as stack:
        tills = await Tills.create(run, stack, devices=DEVICES, stores=STORES)
        await tills.create_orders(plan.rows)
        await tills.create_payments(plan.rows)
        writes = await _measure_writes(tills, plan)
        rounds = [await _measure_reads(tills, plan, number) for number in range(plan.rounds)]
    return {"medians": {**medians_of(writes), **medians_of(rounds)}, "writes": writes, "reads": rounds}


async def _measure_writes(tills: Tills, plan: ReadsPlan) -> list[Figures]:
    """Measure bills, splits and refunds in interleaved rounds, each over its share of the rows."""
    orders = await tills.ids("SELECT id, store_id FROM orders ORDER BY id")
    payments = await tills.ids("SELECT id, store_id FROM payments WHERE status = 'completed' ORDER BY id")
    rounds: list[Figures] = []
    for number in range(plan.rounds):
        part = slice(number, None, plan.rounds)
        bills = Kind([["POST", "/api/v1/bills", till, f'{{"order_id":"{each}"}}'] for each, till in orders[part]])
        found = {"bill": await _once(tills, "bill", bills, in_flight=plan.writes_in_flight)}
        made = await tills.ids("SELECT id, store_id FROM bills WHERE status = 'unpaid' AND parent_bill_id IS NULL")
        splits = Kind([["POST", f"/api/v1/bills/{each}/split", till, SPLIT] for each, till in made])
        found["split"] = await _once(tills, "split", splits, in_flight=plan.writes_in_flight)
        refunds = Kind([["POST", f"/api/v1/payments/{each}/refund", till, REFUND] for each, till in payments[part]])
        found["refund"] = await _once(
            tills, "refund", refunds, in_flight=plan.writes_in_flight, drained_when=NO_OPEN_REFUND
        )
        rounds.append(found)
    return rounds


async def _once(tills: Tills, name: str, kind: Kind, *, in_flight: int, drained_when: str = "") -> Figures:
    """Send each request of a kind once."""
    found = await tills.send(name, {name: kind}, in_flight=in_flight, drained_when=drained_when)
    require_success(found, len(kind.requests))
    return request_figures(found)


async def _measure_reads(tills: Tills, plan: ReadsPlan, number: int) -> Figures:
    figures: Figures = {}
    for name, (table, make) in READS.items():
        kind = make(await tills.ids(f"SELECT id, store_id FROM {table} ORDER BY random()"))
        found = await tills.send(
            f"{name}, round {number + 1}",
            {name: kind},
            in_flight=plan.pages_in_flight if name == PAGE else plan.in_flight,
            warm_up=plan.warm_up,
            seconds=plan.seconds,
        )
        require_success(found, found["count"])
        figures[name] = request_figures(found)
    return figures


def show(figures: Figures, console: Console) -> None:
    """Print a line for each kind of request."""
    table = Table(
        "", "requests/s", "CPU ms each", "sandbox", "P50 ms", "P95", "P99", "client's CPUs", "others' CPUs", box=None
    )
    for name, found in figures["medians"].items():
        spent, times = found["processor_ms"], found["ms"]
        values = (spent["without the sandbox"], spent["sandbox"], times["p50"], times["p95"], times["p99"])
        shares = (found["share of client"], found["share of others"])
        table.add_row(name, f"{found['per_second']:,.0f}", *(f"{value:,.2f}" for value in (*values, *shares)))
    console.print(table)


def _cpu(name: str, limit: float) -> Goal:
    return Goal(f"{name}: CPU", ("medians", name, "processor_ms", "without the sandbox"), limit, "ms")


ROW = Row(
    name="reads",
    summary="GET of a payment, a bill, an order; a page of 50; a bill, its split, a refund",
    plan=ReadsPlan(),
    quick=QUICK,
    measure=measure,
    show=show,
    goals=(
        _cpu("GET payment", 0.4),
        _cpu("GET bill", 0.4),
        _cpu("GET order", 0.4),
        _cpu(PAGE, 3),
        _cpu("refund", 3),
        _cpu("bill", 3),
        _cpu("split", 3),
    ),
)
