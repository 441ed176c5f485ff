"""Play a business day of three stores, its close at midnight, and its reconciliation a day later."""

from typing import Any

from mpac.demo.day import reconciliation_scenes, tables
from mpac.demo.day.clock import StoryClock
from mpac.demo.day.other_stores import OtherStores
from mpac.demo.day.sales_scenes import Story, sell_all_day
from mpac.demo.day.stores import MERCHANT, StoreBuilder
from mpac.demo.environment import DemoEnvironment
from mpac.demo.http_client import CallerFactory
from mpac.demo.problems import Problem, broken_promise
from mpac.devtools.user_tokens import Tenant
from mpac.stack.database_profile import MOVABLE
from mpac.stack.secrets import load_secrets

TITLE = "A day of three stores in Tokyo"


EXERCISES = (
    "chain of periods",
    "lines in their own period",
    "nothing left behind",
    "settled as marked",
    "breakdown of a closed settlement",
    "closed once",
    "figures of a closed settlement",
    "settlements as in the ledger",
    "counted versions of a settlement",
    "legal edges of a settlement",
    "history of a settlement",
    "provider's net",
    "totals",
    "accounts",
    "movements",
    "net",
)


def is_played(demo: DemoEnvironment) -> bool:
    """Return whether the clocks are the demonstration's own, so that they may be moved."""
    return bool(demo.run["realm"] == MOVABLE.database)


async def play(demo: DemoEnvironment) -> list[Problem]:
    """Open the stores, sell, close, count the cash and reconcile; return the problems.

    Raises ``UnexpectedAnswer`` and ``TimedOut``.
    """
    run = demo.run
    if not is_played(demo):
        demo.console.say(
            "The day of three stores is skipped: it moves clocks, and these servers are not the demonstration's own."
        )
        return []
    async with CallerFactory.open() as callers:
        control = callers.provider(run["sandbox_url"], run["sandbox_control_key"], name="the story's clock")
        clock = await StoryClock.open(run["database_url"], provider=control)
        try:
            return await _play_days(demo, clock, callers)
        finally:
            await clock.close()


async def _play_days(demo: DemoEnvironment, clock: StoryClock, callers: CallerFactory) -> list[Problem]:
    await clock.move_to(9, 0)
    seed, builder = demo.seed, StoreBuilder(demo, callers)
    stores = await builder.build()
    story = Story(clock, demo.console, stores)
    await story.say(
        f"It is {clock.first_day:%A, %d %B %Y}: the clocks of this database and this provider were moved forward. "
        f"{MERCHANT} opens three stores:"
    )
    for store in stores.by_name.values():
        demo.console.show(f"{store.plan.english:<9} {store.plan.name}, whose day ends at {store.plan.cut_off}")
    await sell_all_day(story)
    await reconciliation_scenes.count_cash(story)
    others = OtherStores(builder.user("merchant_admin", "terminals-owner", Tenant(seed["psp_id"], seed["merchant_id"])))
    await others.count_cash()
    key = load_secrets(demo.home)["sandbox_api_key"]
    await reconciliation_scenes.compare(
        story, callers.provider(demo.run["sandbox_url"], key, name="the provider's bookkeeper")
    )
    await reconciliation_scenes.resolve(story)
    await reconciliation_scenes.sign_off(story)
    await reconciliation_scenes.finish_other_stores(story)
    await others.wait_until_reconciled(story)
    files = await reconciliation_scenes.print_report(story, demo.home.reports)
    _print_days(demo, story, files)
    return [
        broken_promise(f"at the three stores it is not true that {fact}")
        for fact, is_true in story.facts.items()
        if not is_true
    ]


def _print_days(demo: DemoEnvironment, story: Story, files: list[Any]) -> None:
    demo.console.title("The days of the three stores")
    rows = sorted(story.settlements.items(), key=lambda row: (row[0][1], list(story.stores.by_name).index(row[0][0])))
    demo.console.show(tables.settlements((name, settlement) for (name, _), settlement in rows))
    for file in files:
        demo.console.show(f"Report: {file}")
    if demo.is_kept:
        token = demo.command(f"token --role merchant_admin --merchant {story.stores.merchant_id}")
        demo.console.show(f"To get a token for looking around, run: {token}")
