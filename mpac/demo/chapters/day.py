"""After the terminals: a business day of three stores, its close at midnight, and its reconciliation a day later."""

from typing import Any

from mpac.demo.day import reconciliation_scenes, tables
from mpac.demo.day.clock import StoryClock
from mpac.demo.day.other_stores import OtherStores
from mpac.demo.day.sales_scenes import Story, sell_all_day
from mpac.demo.day.stores import MERCHANT, StoreBuilder
from mpac.demo.environment import DemoEnvironment
from mpac.demo.http_client import Calls
from mpac.demo.problems import Problem, broken
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
    """Open the stores, sell, close, count and reconcile; return what does not add up.

    Raises ``UnexpectedAnswer`` and ``TimedOut``.
    """
    run = demo.run
    if not is_played(demo):
        demo.screen.say(
            "The day of three stores is skipped: it moves clocks, and these servers are not the demonstration's own."
        )
        return []
    async with Calls.open() as calls:
        control = calls.provider(run["sandbox_url"], run["sandbox_control_key"], name="the story's clock")
        clock = await StoryClock.open(run["database_url"], provider=control)
        try:
            return await _days(demo, clock, calls)
        finally:
            await clock.close()


async def _days(demo: DemoEnvironment, clock: StoryClock, calls: Calls) -> list[Problem]:
    await clock.move_to(9, 0)
    seed, builder = demo.seed, StoreBuilder(demo, calls)
    stores = await builder.build()
    story = Story(clock, demo.screen, stores)
    await story.say(
        f"It is {clock.first_day:%A, %d %B %Y}: the clocks of this database and this provider were moved forward. "
        f"{MERCHANT} opens three stores:"
    )
    for store in stores.by_name.values():
        demo.screen.show(f"{store.plan.english:<9} {store.plan.name}, whose day ends at {store.plan.cut_off}")
    await sell_all_day(story)
    await reconciliation_scenes.count_cash(story)
    others = OtherStores(builder.user("merchant_admin", "terminals-owner", Tenant(seed["psp_id"], seed["merchant_id"])))
    await others.count_cash()
    key = load_secrets(demo.home)["sandbox_api_key"]
    await reconciliation_scenes.compare(
        story, calls.provider(demo.run["sandbox_url"], key, name="the provider's bookkeeper")
    )
    await reconciliation_scenes.resolve(story)
    await reconciliation_scenes.sign(story)
    await reconciliation_scenes.let_others_end(story)
    await others.end(story)
    files = await reconciliation_scenes.print_report(story, demo.home.reports)
    _tell(demo, story, files)
    return [
        broken(f"at the three stores it is not true that {fact}")
        for fact, is_true in story.facts.items()
        if not is_true
    ]


def _tell(demo: DemoEnvironment, story: Story, files: list[Any]) -> None:
    demo.screen.title("The days of the three stores")
    rows = sorted(story.settlements.items(), key=lambda row: (row[0][1], list(story.stores.by_name).index(row[0][0])))
    demo.screen.show(tables.settlements((name, settlement) for (name, _), settlement in rows))
    for file in files:
        demo.screen.show(f"Report: {file}")
    if demo.is_kept:
        token = demo.command(f"token --role merchant_admin --merchant {story.stores.merchant_id}")
        demo.screen.show(f"To get a token for looking around, run: {token}")
