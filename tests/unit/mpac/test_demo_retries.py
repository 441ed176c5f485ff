"""One module makes all calls of the demonstration, and repeats those without a final answer until a timeout."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mpac.demo import retry as persisting
from mpac.demo.http_client import HttpCaller, Request, is_transient, retry_after
from mpac.demo.retry import TimedOut, TransientFailure, retry_until_answered, wait_until
from mpac.devtools.terminal import Answer
from mpac.stack.state_folder import ROOT

DEMO = ROOT / "mpac" / "demo"
NETWORK = {
    "aiohttp",
    "httpx",
    "requests",
    "urllib.request",
    "urllib3",
    "http.client",
    "socket",
    "asyncio.streams",
    "ssl",
}
DATABASE = {"psycopg", "sqlalchemy", "asyncpg"}
ONLY = {
    "mpac/demo/http_client.py": NETWORK | {"mpac.devtools.terminal.Terminal"},
    "mpac/demo/database_client.py": DATABASE,
}
"""For each library that reaches another process, the only module of the demonstration that may use it."""


def answer(status: int, code: str = "", headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, {"error": {"code": code}}, headers or {})


def imported(path: Path) -> set[str]:
    """Return the modules and ``module.name`` pairs that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", sorted(DEMO.rglob("*.py")), ids=lambda path: str(path.relative_to(DEMO)))
def test_no_other_module_of_the_demonstration_reaches_the_network(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    ways = {way for one in ONLY.values() for way in one}
    used = {way for way in ways for each in imported(path) if each == way or each.startswith(f"{way}.")}
    assert used <= ONLY.get(name, set())


def test_the_modules_that_may_use_the_network_do_use_it() -> None:
    assert "aiohttp" in imported(ROOT / "mpac/demo/http_client.py")
    assert "psycopg" in imported(ROOT / "mpac/demo/database_client.py")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer(503), True),
        (answer(500), True),
        (answer(502), True),
        (answer(429), True),
        (answer(409, "IDEMPOTENCY_KEY_IN_USE"), True),
        (answer(409, "INVALID_STATUS_TRANSITION"), False),
        (answer(409, "DUPLICATE_RESOURCE"), False),
        (Answer(409, None, {}), False),
        (Answer(409, {"error": "code_cancelled"}, {}), False),
        (answer(422), False),
        (answer(401), False),
        (answer(201), False),
    ],
)
def test_only_answers_that_may_change_are_requested_again(given: Answer, expected: bool) -> None:
    assert is_transient(given) is expected


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7), ("0", 0), ("", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0), ("-3", 0), ("१", 0)]
)
def test_retry_after_is_read_if_it_is_a_number_of_seconds(value: str, seconds: float) -> None:
    assert retry_after(answer(503, headers={"Retry-After": value})) == seconds
    assert retry_after(answer(503)) == 0


class Server:
    """A server that gives scripted answers in turn and records the requests."""

    def __init__(self, *replies: Answer | Exception) -> None:
        self.replies = list(replies)
        self.requests: list[Request] = []

    async def send(self, request: Request) -> Answer:
        self.requests.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record pauses instead of waiting, and return the list of recorded seconds."""
    noted: list[float] = []

    async def sleep(seconds: float) -> None:
        noted.append(seconds)

    # Not `asyncio.sleep` itself: a server of another test on the same event loop would never wait again.
    monkeypatch.setattr("mpac.demo.retry.sleep", sleep)
    return noted


FAILURES = (
    answer(503),
    answer(429),
    answer(409, "IDEMPOTENCY_KEY_IN_USE"),
    ConnectionResetError("reset"),
    TimeoutError(),
)


async def test_a_post_is_repeated_with_its_first_idempotency_key() -> None:
    server = Server(*FAILURES, answer(201))
    assert (await HttpCaller("a till", server.send).call("POST", "/payments", body={"amount": 1})).status == 201
    assert len(server.requests) == len(FAILURES) + 1
    assert len(set(map(id, server.requests))) == 1  # the same request object is sent again …
    assert server.requests[0].key  # … and has a key although the caller gave none


async def test_a_given_idempotency_key_is_used_and_a_get_has_none() -> None:
    server = Server(answer(503), answer(201), answer(200))
    caller = HttpCaller("a till", server.send)
    await caller.call("POST", "/payments", key="till-1")
    await caller.call("GET", "/payments")
    assert [request.key for request in server.requests] == ["till-1", "till-1", ""]


async def test_pauses_grow_and_are_never_shorter_than_retry_after(pauses: list[float]) -> None:
    refusals = [answer(503, headers={"Retry-After": "9"}), *(answer(503) for _ in range(8))]
    await HttpCaller("a till", Server(*refusals, answer(200)).send).call("GET", "/payments")
    assert pauses[0] >= 9
    growing = [seconds / persisting.SPREAD for seconds in pauses[1:]]
    assert growing[0] < growing[2] < growing[4]
    assert max(pauses[1:]) <= persisting.LONGEST_PAUSE_SECONDS * persisting.SPREAD


async def test_a_terminal_with_an_expired_token_renews_it_and_repeats_the_call() -> None:
    renewed: list[int] = []
    server = Server(answer(401), answer(201))
    caller = HttpCaller("a till", server.send, renew=lambda: renewed.append(1))
    assert (await caller.call("POST", "/payments")).status == 201
    assert renewed == [1]


async def test_a_401_that_persists_with_new_tokens_is_returned() -> None:
    server = Server(*(answer(401) for _ in range(9)))
    assert (await HttpCaller("a till", server.send, renew=lambda: None).call("GET", "/payments")).status == 401
    assert (await HttpCaller("a manager", server.send).call("GET", "/stores")).status == 401
    assert len(server.requests) == 5  # four for the terminal, which gets three new tokens, then one for the user


async def test_a_timeout_names_the_call_and_the_last_answer() -> None:
    server = Server(*(answer(503) for _ in range(99)))
    with pytest.raises(TimedOut, match=r"POST /payments by a till: no result within 0 s, at last 503") as late:
        await HttpCaller("a till", server.send).call("POST", "/payments", counted="sale", within=0)
    assert late.value.counted == "sale"


async def test_a_call_that_fails_by_a_bug_is_not_repeated() -> None:
    server = Server(KeyError("data"), answer(200))
    with pytest.raises(KeyError):
        await HttpCaller("a till", server.send).call("GET", "/payments")


async def test_a_timeout_while_polling_is_counted_under_the_awaited_noun() -> None:
    async def look() -> Any:
        return await retry_until_answered(_refused, what="GET /settlements", within=0)

    with pytest.raises(TimedOut, match="the end of the day: GET /settlements") as late:
        await wait_until(look, bool, what="the end of the day", counted="settlement")
    assert late.value.counted == "settlement"


async def test_a_timeout_names_the_last_value_seen() -> None:
    async def look() -> str:
        return "pending"

    with pytest.raises(TimedOut, match="not within 0 s, at last pending"):
        await wait_until(look, lambda seen: seen == "completed", what="pay_1", counted="payment", within=0)


async def _refused() -> Any:
    raise TransientFailure("503")
