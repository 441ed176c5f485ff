"""Play the scenes of the day and the night: three stores sell and refund, and two of them close at midnight by themselves."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mpac.cli.format_money import format_yen
from mpac.demo.console import StoryConsole
from mpac.demo.day.clock import GRACE_SECONDS, StoryClock
from mpac.demo.day.sales import AFTER_MIDNIGHT, EVENING, LATE, NOON, REFUND_AMOUNTS, PlannedSale
from mpac.demo.day.stores import DemoStore, DemoStores
from mpac.devtools.statement.lines import SourceLine

CHAIN = ("Shibuya", "Shinjuku")  # they close at midnight
IZAKAYA = "Ueno"
FIRST_DAY, NEXT_DAY = 0, 1
CODE_EXPIRES_IN_SECONDS = 900  # it is paid after the close, which takes a slow machine minutes
BELONGS_TO = {
    "back before midnight": "a line of today",
    "back after midnight": "yesterday is closed, so a line of the new day",
}


@dataclass(slots=True)
class Story:
    """The state that scenes share: where they play, and what is known so far. All ``facts`` must be true at the end."""

    clock: StoryClock
    console: StoryConsole
    stores: DemoStores
    payments: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the name of its sale, or by store and number
    breaks_by_payment: dict[str, dict[str, str]] = field(default_factory=dict)  # store → payment id → category
    settlements: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)  # by store and day of the story
    facts: dict[str, bool] = field(default_factory=dict)
    lines: list[SourceLine] = field(default_factory=list)  # the provider's own statement for Shibuya's first day

    async def say(self, sentence: str, *, style: str = "") -> None:
        """Print a sentence with the story's own time in front of it."""
        self.console.say(sentence, style=style, moment=await self.clock.moment())

    def store(self, name: str) -> DemoStore:
        """Return a store by its English name."""
        return self.stores.by_name[name]

    async def wait_until_closed(self, name: str, *, day: int = FIRST_DAY) -> dict[str, Any]:
        """Wait until beat and the workers have closed a store's day. Raises ``UnexpectedAnswer``."""
        store = self.store(name)
        path = f"/settlements?store_id={store.store_id}"
        number = day + 1  # by then the settlement of the next day is open

        def is_closed(found: Any) -> bool:
            return len(found["data"]) > number and found["data"][-number]["status"] != "open"

        found = await store.manager.wait_for(path, until=is_closed, counted="settlement")
        return await self.refresh(name, day, found["data"][-number]["id"])

    async def refresh(self, name: str, day: int, settlement_id: str = "") -> dict[str, Any]:
        """Read a settlement as it is now, and remember it."""
        settlement_id = settlement_id or self.settlements[name, day]["id"]
        seen: dict[str, Any] = await self.store(name).manager.read(f"/settlements/{settlement_id}")
        self.settlements[name, day] = seen
        return seen


async def sell_all_day(story: Story) -> None:
    """Play noon, evening, and both sides of midnight. Raises ``UnexpectedAnswer``."""
    await story.clock.move_to(12, 10)
    sold = await _sell(story, NOON)
    await story.clock.move_to(21, 30)
    sold += await _sell(story, EVENING)
    await story.say(f"{sold} sales since noon in the three stores: cash, cards, e-money and QR codes.")
    await story.clock.move_to(23, 50)
    await _refund(story, "back before midnight")
    await story.clock.move_to(23, 57)
    late = await story.store("Shibuya").client.create_code(LATE.amount, expires_in=CODE_EXPIRES_IN_SECONDS)
    await story.clock.require_before(0, day=2, what="the evening")
    await story.say(f"Shibuya shows a code for {format_yen(LATE.amount)}. The customer looks for a telephone …")
    await story.clock.move_to(0, 0, GRACE_SECONDS, day=2)
    await _close_chain(story)
    paid = await story.store("Shibuya").client.finish(late["id"])
    story.payments["late"] = paid
    await story.say(
        f"… and pays ({paid['status']}): started yesterday, completed today, so it is a late line of the new day."
    )
    await story.clock.move_to(0, 5, day=2)
    await _refund(story, "back after midnight")
    await story.clock.move_to(1, 30, day=2)
    await _sell(story, AFTER_MIDNIGHT)
    await story.clock.require_before(5, day=2, what="the night at Ueno")
    await story.clock.move_to(5, 0, GRACE_SECONDS, day=2)
    ueno = await story.wait_until_closed(IZAKAYA)
    await story.say(
        f"Ueno is an izakaya that sells until the morning; its day ended at five, with {ueno['totals']['count']} lines.",
    )


async def _close_chain(story: Story) -> None:
    shibuya, shinjuku = await asyncio.gather(*(story.wait_until_closed(name) for name in CHAIN))
    await story.say(
        "Midnight: beat found two stores whose day had ended, and the workers closed them: "
        f"Shibuya with {shibuya['totals']['count']} lines and {format_yen(shibuya['totals']['net'])} net, "
        f"Shinjuku with {shinjuku['totals']['count']} and {format_yen(shinjuku['totals']['net'])}.",
        style="green",
    )


async def _sell(story: Story, book: Mapping[str, tuple[PlannedSale, ...]]) -> int:
    sales = [(name, sold) for name, several in book.items() for sold in several]
    paid = await asyncio.gather(*(story.store(name).client.buy(sold.amount, sold.method) for name, sold in sales))
    for (name, sold), payment in zip(sales, paid, strict=True):
        story.payments[sold.name or payment["id"]] = payment
        if sold.statement_break:
            story.breaks_by_payment.setdefault(name, {})[payment["id"]] = sold.statement_break
    bad = [payment["id"] for payment in paid if payment["status"] != "completed"]
    story.facts[f"the sales of {await story.clock.moment()} are completed"] = not bad
    return len(paid)


async def _refund(story: Story, name: str) -> None:
    payment, amount = story.payments[name], REFUND_AMOUNTS[name]
    refund = await story.store("Shibuya").client.refund(payment["id"], amount=amount, reason=name)
    story.payments[f"refund {name}"] = refund
    story.facts[f"the refund {name} is completed"] = refund["status"] == "completed"
    await story.say(
        f"Shibuya refunds {format_yen(amount)} of a lunch of {format_yen(payment['amount'])} ({refund['status']}): "
        f"{BELONGS_TO[name]}."
    )
