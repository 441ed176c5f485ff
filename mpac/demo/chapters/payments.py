"""The first chapter: terminals take payments, and everything that can go wrong does."""

import asyncio
import random
import secrets
from collections.abc import Iterator

import aiohttp

from mpac.demo.accident import kill_worker
from mpac.demo.records import Records
from mpac.demo.sales import Sale, sales
from mpac.demo.stage import Stage
from mpac.demo.tally import Tally, as_table
from mpac.demo.till import Till
from mpac.terminal import Terminal

TITLE = "Payments"
ACCIDENT_AT = 0.45  # of the selling time: enough has begun, and enough is still to come
BETWEEN_CUSTOMERS_SECONDS = (0.1, 0.5)
TICK_SECONDS = 0.125
LETTERS = "abcdefghjkmnpqrstvwxyz"  # no digits: a long row of them could pass for a card number and be refused
LIMITLESS = 0  # connections: each terminal has its own


async def play(stage: Stage) -> list[str]:
    """Sell once, open the shops, kill the worker half-way, close the shops, wait until each payment is final, count."""
    chance = random.Random()  # noqa: S311 - a demonstration's dice guard nothing
    tally = Tally()
    mark = "".join(secrets.choice(LETTERS) for _ in range(8))
    customers = sales(mark, chance=chance)
    records = await Records.open(stage.run["database_url"])
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=LIMITLESS)) as session:
            tills = _tills(stage, tally, session=session, chance=chance)
            await _first(stage, tally, till=tills[0], customers=customers)
            _tell_beginning(stage)
            with stage.screen.watch(tally.numbers):
                wrong = await _evening(stage, tally, tills=tills, customers=customers, records=records)
        return [*wrong, *tally.wrong, *await _count(stage, tally, records=records, mark=mark)]
    finally:
        await records.close()


def _tills(stage: Stage, tally: Tally, *, session: aiohttp.ClientSession, chance: random.Random) -> list[Till]:
    run = stage.run
    return [
        Till(
            Terminal(run["api_url"], device, session=session),
            tally,
            session=session,
            sandbox_url=run["sandbox_url"],
            control_key=run["sandbox_control_key"],
            chance=chance,
        )
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
) -> list[str]:
    loop = asyncio.get_running_loop()
    closes_at = loop.time() + stage.seconds
    selling = [asyncio.create_task(_sell(till, customers, closes_at=closes_at, tally=tally)) for till in tills]
    accident = asyncio.create_task(_later(stage, records))
    is_told = False
    while not all(task.done() for task in (*selling, accident)):
        await asyncio.wait({accident, *selling}, timeout=TICK_SECONDS)
        stage.screen.tick()
        if loop.time() > closes_at and not is_told:
            is_told = True
            stage.screen.say(
                f"The shops close; {len(tally.open)} payments are still under way, and each is waited for."
            )
    await asyncio.gather(*selling)
    return await accident


async def _sell(till: Till, customers: Iterator[Sale], *, closes_at: float, tally: Tally) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < closes_at:
        await _serve(till, next(customers), tally)
        await asyncio.sleep(random.uniform(*BETWEEN_CUSTOMERS_SECONDS))  # noqa: S311 - as above


async def _serve(till: Till, sale: Sale, tally: Tally) -> None:
    """One sale; whatever breaks it off is told at the end and stops no other till."""
    try:
        await till.sell(sale)
    except Exception as error:
        tally.wrong.append(f"the sale {sale.reference} broke off: {type(error).__name__} {error}")


async def _later(stage: Stage, records: Records) -> list[str]:
    await asyncio.sleep(stage.seconds * ACCIDENT_AT)
    return await kill_worker(stage, records)


async def _count(stage: Stage, tally: Tally, *, records: Records, mark: str) -> list[str]:
    """Show the table; returns what does not add up between the tills and the database."""
    doubts = await records.doubts(tally.accepted)
    stage.screen.title("What the terminals saw")
    stage.screen.show(as_table(tally, doubts=doubts, gap=stage.screen.gap))
    told = ", ".join(f"{name} {count:,}" for name, count in tally.mishaps.items() if count)
    stage.screen.console.print()
    stage.screen.show(
        "POST is the time to the answer 201, final until the terminal knew the end. In doubt were payments whose outcome "
        "nobody knew for a while: each was asked about until it was known."
    )
    stage.screen.show(f"What went wrong: {told}, killed workers 1.")
    stored = await records.references(f"demo-{mark}-")
    sold = {reference: payment_id for payment_id, reference in tally.accepted.items()}
    wrong = [f"{payment_id} was answered 201 and never became final" for payment_id in tally.open]
    wrong += [f"{sold[name]} was answered 201 and is not in the database" for name in sold.keys() - stored.keys()]
    wrong += [f"the sale {name} made {count} payments" for name, (count, _) in stored.items() if count > 1]
    wrong += [f"{stored[name][1]} is in the database and no terminal knows it" for name in stored.keys() - sold.keys()]
    if not wrong:
        stage.screen.show(
            f"{len(sold):,} sales at the tills, {len(stored):,} payments in the database, each of them final."
        )
    return wrong
