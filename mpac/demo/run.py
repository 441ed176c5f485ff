"""Run the whole demonstration: start the stack, play the chapters, run the audits, and print how it ended."""

import asyncio
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpac.audit.report import AuditReport, as_problems, as_table
from mpac.cli.errors import UserError, explain
from mpac.demo.console import StoryConsole
from mpac.demo.environment import SETTINGS_SENTENCE, DemoEnvironment, demo_stack
from mpac.demo.problems import Problem, ProblemKind, UnexpectedAnswer, demo_failure, lateness
from mpac.demo.process_age import seconds_since_command
from mpac.demo.result import DemoResult, conclude, merge_results
from mpac.demo.retry import TimedOut, TransientFailure, retry_until_answered
from mpac.stack.attach import attach
from mpac.stack.database_profile import MOVABLE
from mpac.stack.environment import HIDDEN, without_password
from mpac.stack.run_file import read_run
from mpac.stack.state_folder import Home

if TYPE_CHECKING:
    from mpac.demo.chapters import Chapter

STORES = 3
PROBLEMS_SHOWN = 10


async def demonstrate(home: Path, *, terminals: int, seconds: float, ports: str, keep: bool) -> DemoResult:
    """Run everything and return how it ended.

    Raises ``UserError`` if the stack or an audit could not be started.
    """
    console = StoryConsole()
    console.title("MPAC SmartPOS Payments")
    console.say("Starting a database, a broker, a payment provider with its own ledger, the API, workers and beat …")
    # Import the product while the servers start: both take about as long, and one of them only waits.
    importing = asyncio.create_task(asyncio.to_thread(import_module, "mpac.devtools.seeding"))
    async with demo_stack(home, ports=ports, keep=keep) as wait_for_rest:
        await importing
        attach(home)
        console.say(f"Ready {seconds_since_command():.1f} s after the command. {SETTINGS_SENTENCE}")
        demo = DemoEnvironment(
            Home(home), console, await _seed(home, terminals), terminals, seconds, keep, wait_for_rest
        )
        result = await _play(demo)
        if keep:
            _print_addresses(demo)
    if not keep:
        console.say("Everything is stopped again. To keep it running at the end, add --keep.")
    return result


async def _seed(home: Path, terminals: int) -> dict[str, Any]:
    from mpac.devtools.seeding import seed_tenants  # noqa: PLC0415 - imported above, while the servers started

    async def attempt() -> dict[str, Any]:
        try:
            return await seed_tenants(Home(home), merchants=1, stores=min(STORES, terminals), devices=terminals)
        except Exception as error:
            sentence = explain(error)
            if sentence is None:
                raise
            raise TransientFailure(sentence) from error

    return await retry_until_answered(attempt, what="the terminals of the demonstration")


async def _play(demo: DemoEnvironment) -> DemoResult:
    from mpac.demo.chapters import CHAPTERS  # noqa: PLC0415 - aiohttp is imported during the seed

    problems: list[Problem] = []
    played: list[Chapter] = []
    for number, chapters in enumerate(CHAPTERS):
        if number:
            await demo.audit("before the clock was moved")
        if problems:
            # The next chapter moves the clock, which needs a stack at rest: it would prove nothing now.
            demo.console.say(f"“{chapters[0].title}” is skipped, because the part before it did not end well.")
            break
        demo.console.title(chapters[0].title)
        for found in await asyncio.gather(*(_chapter(demo, chapter) for chapter in chapters)):
            problems += found
        played += [chapter for chapter in chapters if chapter.is_played(demo)]
    return await _end(demo, problems, played)


async def _chapter(demo: DemoEnvironment, chapter: "Chapter") -> list[Problem]:
    """Play a chapter and return its problems. A bug ends only the chapter; the audit still runs."""
    try:
        return await chapter.play(demo)
    except TimedOut as error:
        return [lateness(f"“{chapter.title}”: {error}", counted=error.counted)]
    except UnexpectedAnswer as error:
        return [demo_failure(f"“{chapter.title}”: {error}")]
    except Exception as error:
        if explain(error) is not None or isinstance(error, UserError):
            raise
        traceback.print_exc()
        return [demo_failure(f"“{chapter.title}” broke off: {type(error).__name__} {error}")]


async def _end(demo: DemoEnvironment, problems: list[Problem], played: Sequence["Chapter"]) -> DemoResult:
    """Run the last audit, and print how the demonstration ended and why."""
    last = await demo.audit("at the end")
    console = demo.console
    console.title("The proof: what three auditors found")
    results = merge_results(demo.audits)
    console.show(as_table(results))
    console.rich.print()
    _print_figures(demo, last)
    for problem in problems[:PROBLEMS_SHOWN]:
        console.say(problem.sentence, style="yellow" if problem.kind is ProblemKind.LATE else "bold red")
    if len(problems) > PROBLEMS_SHOWN:
        console.say(f"… and {len(problems) - PROBLEMS_SHOWN} more")
    for line in as_problems(results):
        console.say(line, style="bold red")
    result = conclude(problems, demo.audits, exercises=frozenset().union(*(chapter.exercises for chapter in played)))
    console.rich.print()
    console.say(result.sentence, style=result.style)
    return result


def _print_figures(demo: DemoEnvironment, last: AuditReport) -> None:
    console = demo.console
    console.show(
        f"There were {len(demo.audits)} audits; “checked” is the most rows that a rule checked in one of them. "
        f"{last.looked_at_sentence()}"
    )
    for line in last.waiting.lines():
        console.show(line)


def _print_addresses(demo: DemoEnvironment) -> None:
    info = read_run(demo.home) or {}
    user, password = info["flower_auth"]
    database_url = info["database_url"]
    if not demo.console.rich.is_terminal:  # as in `up`: a file must not hold passwords
        password, database_url = HIDDEN, without_password(database_url)
    demo.console.title("The stack is still running")
    for name, url in {
        "API": f"{info['api_url']}/docs",
        "Flower": f"{info['flower_url']}  (user {user}, password {password})",
        "Sandbox provider": f"{info['sandbox_url']}/control/ledger  (control key in run.json)",
        "Database": database_url,
    }.items():
        demo.console.show(f"{name:<18} {url}")
    demo.console.show(f"Stop it with `{demo.command('down')}`. It has the settings of the demonstration.")
    if info["realm"] == MOVABLE.database:
        demo.console.show(
            f"Its clock is days ahead. To start it again later, run `{demo.command('up --movable-clock')}`; "
            "without --movable-clock, `up` has other data and the real time."
        )
