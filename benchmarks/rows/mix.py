"""``mix``: the platform's own mixture of requests: 40 % orders, 30 % payments, 20 % reads of bills, 10 % device tokens.

A closed loop with 256 requests in flight. The payments are processed meanwhile, so their whole cost is part of the load.
"""

from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from benchmarks.frame import Row, Run
from benchmarks.goals import Figures, Goal
from benchmarks.orders import ORDER
from benchmarks.report import medians_of
from benchmarks.requests_load import Kind
from benchmarks.till_data import NO_OPEN_PAYMENT, PAYMENT, Tills, request_figures, require_success

DEVICES = 64
CREATING = 16  # bills of a store wait for each other's number
WEIGHTS = {"order": 40, "payment": 30, "bill": 20, "token": 10}
MOST_PER_SECOND = 5_000
"""Requests/s for which enough assertions are signed; a signed assertion can be used only once."""


@dataclass(frozen=True, slots=True)
class MixPlan:
    """The number of requests in flight, and the duration."""

    rounds: int = 3
    in_flight: int = 256
    bills: int = 2_000  # that are read
    warm_up: float = 3.0
    seconds: float = 15.0


QUICK = MixPlan(rounds=1, in_flight=16, bills=50, warm_up=0.3, seconds=1.0)


async def measure(run: Run, plan: MixPlan) -> Figures:
    """Create bills, send the mixture in rounds, and return the medians and the worst number of refusals."""
    async with run.stack() as stack:
        tills = await Tills.create(run, stack, devices=DEVICES)
        await tills.create_orders(plan.bills)
        orders = await tills.ids("SELECT id, store_id FROM orders")
        bills = Kind(
            [["POST", "/api/v1/bills", till, f'{{"order_id":"{each}"}}'] for each, till in orders], is_retried=True
        )
        require_success(await tills.send("creating bills", {"bill": bills}, in_flight=CREATING), plan.bills)
        rounds = [await _round(tills, plan, number) for number in range(plan.rounds)]
    return {
        "medians": medians_of(rounds),
        "refused": sum(found["refused"] for found in rounds),
        "not_successful": sum(found["not_successful"] for found in rounds),
        "rounds": rounds,
    }


async def _round(tills: Tills, plan: MixPlan, number: int) -> Figures:
    bills = await tills.ids("SELECT id, store_id FROM bills ORDER BY random()")
    share = WEIGHTS["token"] / sum(WEIGHTS.values())
    kinds = {
        "order": Kind([["POST", "/api/v1/orders", place, ORDER] for place in range(DEVICES)]),
        "payment": Kind([["POST", "/api/v1/payments", place, PAYMENT] for place in range(DEVICES)]),
        "bill": Kind([["GET", f"/api/v1/bills/{each}", till, ""] for each, till in bills]),
        "token": await tills.assertions(int(MOST_PER_SECOND * share * (plan.warm_up + plan.seconds))),
    }
    found = await tills.send(
        f"round {number + 1}",
        {name: replace(kind, weight=WEIGHTS[name]) for name, kind in kinds.items()},
        in_flight=plan.in_flight,
        warm_up=plan.warm_up,
        seconds=plan.seconds,
    )
    await tills.wait_until(NO_OPEN_PAYMENT)  # the next round must not pay for them
    return request_figures(found)


def show(figures: Figures, console: Console) -> None:
    """Print the rate, and a line for each kind of request."""
    medians = figures["medians"]
    spent = medians["processor_ms"]
    console.print(
        f"{medians['per_second']:,.0f} requests/s; {spent['without the sandbox']:.2f} ms of CPU time each, "
        f"sandbox {spent['sandbox']:.2f}"
    )
    table = Table("", "P50 ms", "P95", "P99", "answers of the last round", box=None)
    for name, found in medians["by_kind"].items():
        answers = figures["rounds"][-1]["by_kind"][name]["answers"]
        times = [f"{found['ms'].get(p, 0):,.1f}" for p in ("p50", "p95", "p99")]
        table.add_row(name, *times, ", ".join(f"{count:,} x {status}" for status, count in answers.items()))
    console.print(table)


ROW = Row(
    name="mix",
    summary="40 % orders, 30 % payments, 20 % reads of bills, 10 % device tokens, 256 in flight",
    plan=MixPlan(),
    quick=QUICK,
    measure=measure,
    show=show,
    goals=(
        Goal("requests/s", ("medians", "per_second"), 1_500, "/s", at_least=True),
        Goal("answers of 503", ("refused",), 0),
    ),
)
