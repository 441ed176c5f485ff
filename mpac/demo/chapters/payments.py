"""The first chapter: terminals take payments, and everything that can go wrong does."""

import asyncio
import logging
import random
import secrets
from collections.abc import Iterator

from mpac.demo.calls import Calls
from mpac.demo.environment import Stage
from mpac.demo.kill_worker import kill_worker
from mpac.demo.problems import BrokeOff, Problem, broken, failed, late
from mpac.demo.records import Records
from mpac.demo.retry import NotInTime
from mpac.demo.sales import Sale, sales
from mpac.demo.statistics import Tally, as_table
from mpac.demo.till_client import Till

logger = logging.getLogger(__name__)

TITLE = "Payments"
ACCIDENT_AT = 0.45  # of the selling time: enough has begun, and enough is still to come
BETWEEN_CUSTOMERS_SECONDS = (0.1, 0.5)
TICK_SECONDS = 0.125
LETTERS = "abcdefghjkmnpqrstvwxyz"  # no digits: a long row of them could pass for a card number and be refused


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


async def play(stage: Stage) -> list[Problem]:
    """Sell once, open the shops, kill the worker half-way, close the shops, wait until each payment is final, count."""
    chance = random.Random()  # noqa: S311 - a demonstration's dice guard nothing
    tally = Tally()
    mark = "".join(secrets.choice(LETTERS) for _ in range(8))
    customers = sales(mark, chance=chance)
    records = await Records.open(stage.run["database_url"])
    try:
        async with Calls.open() as calls:
            tills = _tills(stage, tally, calls=calls, chance=chance)
            await _first(stage, tally, till=tills[0], customers=customers)
            _tell_beginning(stage)
            with stage.screen.watch(tally.numbers):
                await _evening(stage, tally, tills=tills, customers=customers, records=records)
        return [*tally.problems, *await _count(stage, tally, records=records, mark=mark)]
    finally:
        await records.close()


def _tills(stage: Stage, tally: Tally, *, calls: Calls, chance: random.Random) -> list[Till]:
    run = stage.run
    telephone = calls.provider(run["sandbox_url"], run["sandbox_control_key"], name="a customer's telephone")
    return [
        Till(calls.terminal(run["api_url"], device), tally, telephone=telephone, chance=chance)
        for device in stage.seed["devices"]
    ]


async def _first(stage: Stage, tally: Tally, *, till: Till, customers: Iterator[Sale]) -> None:
    await _serve(till, next(customers), tally)
    after = tally.first_completed_after_seconds
    told = f"completed {after:.1f} s after the command was given" if after else "not completed"
    stage.screen.say(f"The first payment was {told}.", style="bold")
    await stage.wait_for_rest()


def _tell_beginning(stage: Stage) -> None:
    stage.screen.say(
        f"{stage.terminals} terminals in {len(stage.seed['stores'])} stores sell for {stage.seconds:g} s: cash, cards, "
        "e-money and QR codes. Fingers tap twice, lines break before the answer is read, customers leave, and the provider "
        "declines, is away, times out before or after it charged, or talks nonsense."
    )


async def _evening(
    stage: Stage, tally: Tally, *, tills: list[Till], customers: Iterator[Sale], records: Records
) -> None:
    loop = asyncio.get_running_loop()
    closes_at = loop.time() + stage.seconds
    selling = [asyncio.create_task(_sell(till, customers, closes_at=closes_at, tally=tally)) for till in tills]
    accident = asyncio.create_task(_later(stage, tally, records=records))
    together = (*selling, accident)
    is_told = False
    try:
        while not all(task.done() for task in together):
            await asyncio.wait(together, timeout=TICK_SECONDS)
            stage.screen.tick()
            if loop.time() > closes_at and not is_told:
                is_told = True
                stage.screen.say(
                    f"The shops close; {len(tally.open)} payments are still under way, and each is waited for."
                )
        await asyncio.gather(*together)
    except BaseException:
        for task in together:  # Ctrl-C: a till that sells on would complain that its session is closed
            task.cancel()
        await asyncio.wait(together)
        raise


async def _sell(till: Till, customers: Iterator[Sale], *, closes_at: float, tally: Tally) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < closes_at:
        await _serve(till, next(customers), tally)
        await asyncio.sleep(random.uniform(*BETWEEN_CUSTOMERS_SECONDS))  # noqa: S311 - as above


async def _serve(till: Till, sale: Sale, tally: Tally) -> None:
    """One sale; whatever breaks it off is told at the end and stops no other till."""
    try:
        await till.sell(sale)
    except NotInTime as error:
        tally.add(late(str(error), counted=error.counted))
    except BrokeOff as error:
        tally.add(failed(str(error)))
    except Exception as error:
        logger.exception("a till failed")
        tally.add(failed(f"the sale {sale.reference} broke off: {type(error).__name__} {error}"))


async def _later(stage: Stage, tally: Tally, *, records: Records) -> None:
    await asyncio.sleep(stage.seconds * ACCIDENT_AT)
    try:
        await kill_worker(stage, records)
    except NotInTime as error:
        tally.add(late(str(error), counted=error.counted))


async def _count(stage: Stage, tally: Tally, *, records: Records, mark: str) -> list[Problem]:
    """Show the table; returns what does not add up between the tills and the database."""
    doubts = await records.doubts(tally.accepted)
    stage.screen.title("What the terminals saw")
    stage.screen.show(as_table(tally, doubts=doubts, gap=stage.screen.gap))
    told = ", ".join(f"{name} {count:,}" for name, count in tally.mishaps.items() if count)
    stage.screen.console.print()
    stage.screen.show(
        "POST is the time to the answer 201, final the time until the terminal knew the end. P50: half of the payments were "
        "quicker; P99: all but one in a hundred. In doubt were payments whose outcome nobody knew for a while: the provider "
        "was asked about each until it was known."
    )
    stage.screen.show(f"What went wrong on purpose: {told}, killed workers 1.")
    stored = await records.references(f"demo-{mark}-")
    sold = {reference: payment_id for payment_id, reference in tally.accepted.items()}
    problems = compare(sold=sold, stored=stored, unanswered=tally.begun - sold.keys())
    if not problems and not tally.problems:
        stage.screen.show(
            f"{len(sold):,} sales at the tills, {len(stored):,} payments in the database, each of them final."
        )
    return problems


def compare(*, sold: dict[str, str], stored: dict[str, tuple[int, str]], unanswered: set[str]) -> list[Problem]:
    """Compare what the tills know with what the database holds, both by client_reference.

    A sale whose request was never answered may be stored or not.
    """
    return [
        *(broken(f"{sold[name]} was answered 201 and is not in the database") for name in sold.keys() - stored.keys()),
        *(broken(f"the sale {name} made {count} payments") for name, (count, _) in stored.items() if count > 1),
        *(
            broken(f"{stored[name][1]} is in the database and no terminal knows it")
            for name in stored.keys() - sold.keys() - unanswered
        ),
    ]
