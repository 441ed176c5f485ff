"""The whole demonstration: build the stage, play the chapters, let the judges speak."""

import asyncio
from importlib import import_module
from pathlib import Path
from typing import Any

from mpac.demo.began import seconds_since_command
from mpac.demo.screen import Screen
from mpac.demo.stage import IN_A_SENTENCE, Stage, stack_for
from mpac.proof import as_problems, as_table, is_clean, prove
from mpac.stack.attach import attach
from mpac.stack.environment import HIDDEN, without_password
from mpac.stack.home import Home
from mpac.stack.realm import MOVABLE
from mpac.stack.runfile import read_run

STORES = 3
WRONGS_SHOWN = 20


async def demonstrate(home: Path, *, terminals: int, seconds: float, ports: str, keep: bool) -> bool:
    """Play it all; whether every payment is final, everything adds up and all judges agree."""
    screen = Screen()
    screen.title("MPAC SmartPOS Payments")
    screen.say(
        "Starting a database, a broker, a payment provider with a ledger of its own, the API, workers and beat …"
    )
    # The product is imported while the servers start: both take about as long, and one of them only waits.
    importing = asyncio.create_task(asyncio.to_thread(import_module, "mpac.seeding"))
    async with stack_for(home, ports=ports, keep=keep) as wait_for_rest:
        await importing
        attach(home)
        screen.say(f"Ready {seconds_since_command():.1f} s after the command. {IN_A_SENTENCE}")
        stage = Stage(Home(home), screen, await _seed(home, terminals), terminals, seconds, keep, wait_for_rest)
        wrong = await _play(stage)
        is_proven = await _prove(stage, wrong)
        if keep:
            _tell_where(stage)
    if not keep:
        screen.say("Everything is stopped again; with --keep it would have stayed up.")
    return is_proven


async def _seed(home: Path, terminals: int) -> dict[str, Any]:
    from mpac.seeding import seed_tenants  # noqa: PLC0415 - imported above, while the servers started

    return await seed_tenants(Home(home), merchants=1, stores=min(STORES, terminals), devices=terminals)


async def _play(stage: Stage) -> list[str]:
    from mpac.demo.chapters import CHAPTERS  # noqa: PLC0415 - aiohttp is imported while nobody waits for it

    wrong: list[str] = []
    for number, together in enumerate(CHAPTERS):
        if number:
            wrong += await _look(stage)
        stage.screen.title(together[0].title)
        for found in await asyncio.gather(*(chapter.play(stage) for chapter in together)):
            wrong += found
    return wrong


async def _look(stage: Stage) -> list[str]:
    """The judges before the clock moves: some rules are about the last day only. Returns what they found."""
    verdicts = await prove(sandbox_url=stage.run["sandbox_url"], control_key=stage.run["sandbox_control_key"])
    count = sum(verdict.count for verdict in verdicts)
    stage.screen.say(f"The judges look for the first time: {len(verdicts)} rules, {count} violations.")
    return as_problems(verdicts)


async def _prove(stage: Stage, wrong: list[str]) -> bool:
    """The judges, and the sentence that everything was for."""
    screen = stage.screen
    verdicts = await prove(sandbox_url=stage.run["sandbox_url"], control_key=stage.run["sandbox_control_key"])
    screen.title("The proof: what three judges say")
    screen.show(as_table(verdicts))
    for line in [*wrong[:WRONGS_SHOWN], *as_problems(verdicts)]:
        screen.say(line, style="bold red")
    screen.console.print()
    if wrong or not is_clean(verdicts):
        screen.say("The judges or the tills found something wrong: see above.", style="bold red")
        return False
    screen.say(
        "All judges agree: nothing was lost, nothing was charged twice, and every payment is final.",
        style="bold green",
    )
    return True


def _tell_where(stage: Stage) -> None:
    info = read_run(stage.home) or {}
    user, password = info["flower_auth"]
    database_url = info["database_url"]
    if not stage.screen.console.is_terminal:  # as `up`: a file must not hold passwords
        password, database_url = HIDDEN, without_password(database_url)
    stage.screen.title("It is still up")
    for name, url in {
        "API": f"{info['api_url']}/docs",
        "Flower": f"{info['flower_url']}  (user {user}, password {password})",
        "Sandbox provider": f"{info['sandbox_url']}/control/ledger  (control key in run.json)",
        "Database": database_url,
    }.items():
        stage.screen.show(f"{name:<18} {url}")
    stage.screen.show(f"Stop it with `{stage.command('down')}`; its settings are the demonstration's.")
    if info["realm"] == MOVABLE.database:
        stage.screen.show(
            f"Its clock is ahead of yours, since days were played. `{stage.command('up --movable-clock')}` brings it back "
            "later; a plain `up` lives in the present, with data of its own."
        )
