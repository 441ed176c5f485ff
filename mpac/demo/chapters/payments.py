"""The first chapter: terminals take payments while everything that can go wrong does."""

import asyncio
import logging
import random
import secrets
from collections.abc import Iterator

from mpac.demo.environment import DemoEnvironment
from mpac.demo.http_client import Calls
from mpac.demo.kill_worker import kill_worker
from mpac.demo.problems import Problem, UnexpectedAnswer, broken, failed, late
from mpac.demo.queries import Records
from mpac.demo.retry import TimedOut
from mpac.demo.sales import Sale, sales
from mpac.demo.statistics import SalesStatistics, as_table
from mpac.demo.terminal_client import TillClient

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
    """Sell once, open the tills, kill the worker half-way, close the tills, wait until every payment is final, count."""
    rng = random.Random()  # noqa: S311 - a demonstration's dice guard nothing
    statistics = SalesStatistics()
    mark = "".join(secrets.choice(LETTERS) for _ in range(8))
    customers = sales(mark, rng=rng)
    records = await Records.open(demo.run["database_url"])
    try:
        async with Calls.open() as calls:
            tills = _tills(demo, statistics, calls=calls, rng=rng)
            await _first(demo, statistics, till=tills[0], customers=customers)
            _tell_beginning(demo)
            with demo.screen.watch(statistics.numbers):
                await _evening(demo, statistics, tills=tills, customers=customers, records=records)
        return [*statistics.problems, *await _count(demo, statistics, records=records, mark=mark)]
    finally:
        await records.close()


def _tills(demo: DemoEnvironment, statistics: SalesStatistics, *, calls: Calls, rng: random.Random) -> list[TillClient]:
    run = demo.run
    phone = calls.provider(run["sandbox_url"], run["sandbox_control_key"], name="a customer's telephone")
    return [
        TillClient(calls.terminal(run["api_url"], device), statistics, phone=phone, rng=rng)
        for device in demo.seed["devices"]
    ]


async def _first(
    demo: DemoEnvironment, statistics: SalesStatistics, *, till: TillClient, customers: Iterator[Sale]
) -> None:
    await _serve(till, next(customers), statistics)
    after = statistics.first_completed_after_seconds
    outcome = f"completed {after:.1f} s after the command was given" if after else "not completed"
    demo.screen.say(f"The first payment was {outcome}.", style="bold")
    await demo.wait_for_rest()


def _tell_beginning(demo: DemoEnvironment) -> None:
    demo.screen.say(
        f"{demo.terminals} terminals in {len(demo.seed['stores'])} stores sell for {demo.seconds:g} s: cash, cards, "
        "e-money and QR codes. Cashiers tap twice, connections break before the answer is read, customers leave, and the "
        "provider declines, is down, times out before or after charging, or sends answers that make no sense."
    )


async def _evening(
    demo: DemoEnvironment,
    statistics: SalesStatistics,
    *,
    tills: list[TillClient],
    customers: Iterator[Sale],
    records: Records,
) -> None:
    loop = asyncio.get_running_loop()
    closes_at = loop.time() + demo.seconds
    selling = [
        asyncio.create_task(_sell(till, customers, closes_at=closes_at, statistics=statistics)) for till in tills
    ]
    killing = asyncio.create_task(_later(demo, statistics, records=records))
    together = (*selling, killing)
    is_told = False
    try:
        while not all(task.done() for task in together):
            await asyncio.wait(together, timeout=TICK_SECONDS)
            demo.screen.tick()
            if loop.time() > closes_at and not is_told:
                is_told = True
                demo.screen.say(
                    f"The stores close. {len(statistics.open)} payments are still in progress; waiting for each of them …"
                )
        await asyncio.gather(*together)
    except BaseException:
        for task in together:  # Ctrl-C: a till that continued would fail because its session is closed
            task.cancel()
        await asyncio.wait(together)
        raise


async def _sell(till: TillClient, customers: Iterator[Sale], *, closes_at: float, statistics: SalesStatistics) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < closes_at:
        await _serve(till, next(customers), statistics)
        await asyncio.sleep(random.uniform(*BETWEEN_CUSTOMERS_SECONDS))  # noqa: S311 - as above


async def _serve(till: TillClient, sale: Sale, statistics: SalesStatistics) -> None:
    """Make one sale; an error is reported at the end and stops no other till."""
    try:
        await till.sell(sale)
    except TimedOut as error:
        statistics.add(late(str(error), counted=error.counted))
    except UnexpectedAnswer as error:
        statistics.add(failed(str(error)))
    except Exception as error:
        logger.exception("a till failed")
        statistics.add(failed(f"the sale {sale.reference} broke off: {type(error).__name__} {error}"))


async def _later(demo: DemoEnvironment, statistics: SalesStatistics, *, records: Records) -> None:
    await asyncio.sleep(demo.seconds * KILL_AT)
    try:
        await kill_worker(demo, records)
    except TimedOut as error:
        statistics.add(late(str(error), counted=error.counted))


async def _count(demo: DemoEnvironment, statistics: SalesStatistics, *, records: Records, mark: str) -> list[Problem]:
    """Show the table; return what differs between the tills and the database."""
    doubts = await records.doubts(statistics.accepted)
    demo.screen.title("What the terminals saw")
    demo.screen.show(as_table(statistics, doubts=doubts, gap=demo.screen.gap))
    incidents = ", ".join(f"{name} {count:,}" for name, count in statistics.incidents.items() if count)
    demo.screen.console.print()
    demo.screen.show(
        "POST is the time to the answer 201, final the time until the terminal knew the final status. P50: half of the "
        "payments were faster; P99: all but one in a hundred. In doubt are payments whose outcome was unknown for a while: "
        "the provider was asked about each until it was known."
    )
    demo.screen.show(f"Faults that were planted: {incidents}, killed workers 1.")
    stored = await records.references(f"demo-{mark}-")
    sold = {reference: payment_id for payment_id, reference in statistics.accepted.items()}
    problems = compare(sold=sold, stored=stored, unanswered=statistics.begun - sold.keys())
    if not problems and not statistics.problems:
        demo.screen.show(
            f"{len(sold):,} sales at the tills, {len(stored):,} payments in the database, each of them final."
        )
    return problems


def compare(*, sold: dict[str, str], stored: dict[str, tuple[int, str]], unanswered: set[str]) -> list[Problem]:
    """Compare the sales that the tills know with the payments in the database, by client_reference.

    A sale whose request was never answered may or may not be stored.
    """
    return [
        *(broken(f"{sold[name]} was answered 201 and is not in the database") for name in sold.keys() - stored.keys()),
        *(broken(f"the sale {name} made {count} payments") for name, (count, _) in stored.items() if count > 1),
        *(
            broken(f"{stored[name][1]} is in the database and no terminal knows it")
            for name in stored.keys() - sold.keys() - unanswered
        ),
    ]
