"""Play the first chapter: terminals take payments while faults of every kind happen."""

import asyncio
import logging
import random
import secrets
from collections.abc import Iterator

from mpac.demo.environment import DemoEnvironment
from mpac.demo.http_client import CallerFactory
from mpac.demo.kill_worker import kill_worker
from mpac.demo.problems import Problem, UnexpectedAnswer, broken_promise, demo_failure, lateness
from mpac.demo.queries import DemoQueries
from mpac.demo.retry import TimedOut
from mpac.demo.sales import Sale, sales
from mpac.demo.statistics import SalesStatistics, as_table
from mpac.demo.terminal_client import TerminalClient

logger = logging.getLogger(__name__)

TITLE = "Payments"
KILL_AT = 0.45  # of the selling time: by then many payments are in progress, and many are still to come
BETWEEN_CUSTOMERS_SECONDS = (0.1, 0.5)
TICK_SECONDS = 0.125
LETTERS = "abcdefghjkmnpqrstvwxyz"  # no digits: a long sequence of them could pass for a card number and be refused


EXERCISES = (
    "careful attempts of a payment",
    "captured amounts",
    "proven success of a payment",
    "known outcomes of a payment",
    "proven failure of a payment",
    "refund reservations",
    "counted versions of a device",
    "counted versions of a payment",
    "legal edges of a device",
    "legal edges of a payment",
    "history of a device",
    "history of a payment",
    "balanced journals",
    "one journal for each movement",
    "bound of a payment",
    "looked after: a payment",
    "listed: a payment",
    "keys of payments by caller",
    "one answer for each key",
    "one key for each payment",
    "one payment for each client reference",
    "one payment for each key",
    "no card numbers",
    "I1",
    "I2",
    "unknown",
)


async def play(demo: DemoEnvironment) -> list[Problem]:
    """Sell at one terminal, then at all, killing the worker half-way; return the problems.

    Wait until every payment is final. The problems include differences between the terminals' records and the database.
    """
    rng = random.Random()  # noqa: S311 - a demonstration's dice guard nothing
    statistics = SalesStatistics()
    mark = "".join(secrets.choice(LETTERS) for _ in range(8))
    customers = sales(mark, rng=rng)
    queries = await DemoQueries.open(demo.run["database_url"])
    try:
        async with CallerFactory.open() as callers:
            terminals = _terminal_clients(demo, statistics, callers=callers, rng=rng)
            await _sell_first(demo, statistics, terminal=terminals[0], customers=customers)
            _print_introduction(demo)
            with demo.console.watch(statistics.numbers):
                await _sell_until_closing(demo, statistics, terminals=terminals, customers=customers, queries=queries)
        return [*statistics.problems, *await _print_and_compare(demo, statistics, queries=queries, mark=mark)]
    finally:
        await queries.close()


def _terminal_clients(
    demo: DemoEnvironment, statistics: SalesStatistics, *, callers: CallerFactory, rng: random.Random
) -> list[TerminalClient]:
    run = demo.run
    phone = callers.provider(run["sandbox_url"], run["sandbox_control_key"], name="a customer's telephone")
    return [
        TerminalClient(callers.terminal(run["api_url"], device), statistics, phone=phone, rng=rng)
        for device in demo.seed["devices"]
    ]


async def _sell_first(
    demo: DemoEnvironment, statistics: SalesStatistics, *, terminal: TerminalClient, customers: Iterator[Sale]
) -> None:
    await _serve(terminal, next(customers), statistics)
    after = statistics.first_completed_after_seconds
    outcome = f"completed {after:.1f} s after the command was given" if after else "not completed"
    demo.console.say(f"The first payment was {outcome}.", style="bold")
    await demo.wait_for_rest()


def _print_introduction(demo: DemoEnvironment) -> None:
    demo.console.say(
        f"{demo.terminals} terminals in {len(demo.seed['stores'])} stores sell for {demo.seconds:g} s: cash, cards, "
        "e-money and QR codes. Cashiers tap twice, connections break before the answer is read, customers leave, and the "
        "provider declines, is down, times out before or after charging, or sends answers that make no sense."
    )


async def _sell_until_closing(
    demo: DemoEnvironment,
    statistics: SalesStatistics,
    *,
    terminals: list[TerminalClient],
    customers: Iterator[Sale],
    queries: DemoQueries,
) -> None:
    loop = asyncio.get_running_loop()
    closes_at = loop.time() + demo.seconds
    selling = [
        asyncio.create_task(_sell(terminal, customers, closes_at=closes_at, statistics=statistics))
        for terminal in terminals
    ]
    killing = asyncio.create_task(_kill_worker_later(demo, statistics, queries=queries))
    together = (*selling, killing)
    is_told = False
    try:
        while not all(task.done() for task in together):
            await asyncio.wait(together, timeout=TICK_SECONDS)
            demo.console.tick()
            if loop.time() > closes_at and not is_told:
                is_told = True
                demo.console.say(
                    f"The stores close. {len(statistics.open)} payments are still in progress; waiting for each of them …"
                )
        await asyncio.gather(*together)
    except BaseException:
        for task in together:  # Ctrl-C: a terminal that continued would fail, because its session is closed
            task.cancel()
        await asyncio.wait(together)
        raise


async def _sell(
    terminal: TerminalClient, customers: Iterator[Sale], *, closes_at: float, statistics: SalesStatistics
) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < closes_at:
        await _serve(terminal, next(customers), statistics)
        await asyncio.sleep(random.uniform(*BETWEEN_CUSTOMERS_SECONDS))  # noqa: S311 - as above


async def _serve(terminal: TerminalClient, sale: Sale, statistics: SalesStatistics) -> None:
    """Make one sale. An error is reported at the end and does not stop other terminals."""
    try:
        await terminal.sell(sale)
    except TimedOut as error:
        statistics.add(lateness(str(error), counted=error.counted))
    except UnexpectedAnswer as error:
        statistics.add(demo_failure(str(error)))
    except Exception as error:
        logger.exception("a terminal failed")
        statistics.add(demo_failure(f"the sale {sale.reference} broke off: {type(error).__name__} {error}"))


async def _kill_worker_later(demo: DemoEnvironment, statistics: SalesStatistics, *, queries: DemoQueries) -> None:
    await asyncio.sleep(demo.seconds * KILL_AT)
    try:
        await kill_worker(demo, queries)
    except TimedOut as error:
        statistics.add(lateness(str(error), counted=error.counted))


async def _print_and_compare(
    demo: DemoEnvironment, statistics: SalesStatistics, *, queries: DemoQueries, mark: str
) -> list[Problem]:
    """Print the table, and return the differences between what the terminals know and the database."""
    doubts = await queries.count_doubts(statistics.accepted)
    demo.console.title("What the terminals saw")
    demo.console.show(as_table(statistics, doubts=doubts, gap=demo.console.gap))
    incidents = ", ".join(f"{name} {count:,}" for name, count in statistics.incidents.items() if count)
    demo.console.rich.print()
    demo.console.show(
        "POST is the time to the answer 201, final the time until the terminal knew the final status. P50: half of the "
        "payments were faster; P99: all but one in a hundred. In doubt are payments whose outcome was unknown for a while: "
        "the provider was asked about each until it was known."
    )
    demo.console.show(f"Faults that were planted: {incidents}, killed workers 1.")
    stored = await queries.payments_by_reference(f"demo-{mark}-")
    sold = {reference: payment_id for payment_id, reference in statistics.accepted.items()}
    problems = compare(sold=sold, stored=stored, unanswered=statistics.begun - sold.keys())
    if not problems and not statistics.problems:
        demo.console.show(
            f"{len(sold):,} sales at the terminals, {len(stored):,} payments in the database, each of them final."
        )
    return problems


def compare(*, sold: dict[str, str], stored: dict[str, tuple[int, str]], unanswered: set[str]) -> list[Problem]:
    """Compare the sales that the terminals know with the payments in the database, by client_reference.

    A sale whose request was never answered may or may not be stored.
    """
    return [
        *(
            broken_promise(f"{sold[name]} was answered 201 and is not in the database")
            for name in sold.keys() - stored.keys()
        ),
        *(broken_promise(f"the sale {name} made {count} payments") for name, (count, _) in stored.items() if count > 1),
        *(
            broken_promise(f"{stored[name][1]} is in the database and no terminal knows it")
            for name in stored.keys() - sold.keys() - unanswered
        ),
    ]
