"""Turn the API's health report into what `status` prints: queues and processes, and which of them are silent."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mpac.cli.format_duration import format_duration
from mpac.stack.run_file import RunInfo

ANSWER_WITHIN_SECONDS = 5  # the API reports within 3 s whether its database answers

BEAT_IS_SILENT = (
    "Beat is silent: no worker has received a sweep for {age}. Retries, inquiries and closes wait; check its log."
)
WORKER_IS_DEAF = "{name} is deaf: it runs but has consumed no message for {age}. Check its log, then restart it."
SENTENCES = {
    ("queue", "silent"): "The queue {name} is silent: no worker has consumed it for {age}.",
    ("worker", "silent"): "{name} is silent: it has written nothing for {age}. It is frozen, dead or has no database.",
    ("worker", "deaf"): WORKER_IS_DEAF,
    ("beat", "silent"): BEAT_IS_SILENT,
    ("beat", "unknown"): "It is unknown whether beat runs, because no worker consumes its messages.",
    (
        "broker",
        "silent",
    ): "The broker accepts no message from the API: payments are stored and processed when it is back.",
}
"""(kind, state) → the sentence about it.

If a state is unknown because the broker is down, only the broker gets a sentence.
"""

Health = Mapping[str, Any]


def fetch_health(info: RunInfo) -> Health | str:
    """Return the body of the API's `/health/ready`, or a sentence that says why there is none.

    Return an empty body without an API.
    """
    if "api" not in info["ready"]:
        return {}
    from urllib.error import HTTPError  # noqa: PLC0415 - takes 0.1 s, which other commands need not wait for
    from urllib.request import urlopen  # noqa: PLC0415 - as above

    try:
        with urlopen(f"{info['api_url']}/health/ready", timeout=ANSWER_WITHIN_SECONDS) as answer:  # noqa: S310 - ours, http
            said: Health = json.load(answer)
            return said
    except HTTPError as error:
        return f"The API is not ready: {info['api_url']}/health/ready answers {error.code}."
    except (OSError, ValueError):
        return f"The API does not answer at {info['api_url']}."


def health_problems(info: RunInfo, health: Health | str) -> list[str]:
    """Return a sentence for each fault of the stack that the API reports.

    The state of the processes is not enough: a running process may still do nothing.
    """
    if isinstance(health, str):
        return [health]
    return [
        SENTENCES[part["kind"], part["state"]].format(
            name=_process(part["name"]), age=silence_text(part["silent_seconds"])
        )
        for part in health.get("silent", ())
        if (part["kind"], part["state"]) in SENTENCES and _is_ours(part, info)
    ]


def process_states(health: Health | str) -> dict[str, tuple[str, str]]:
    """Return, by name, the state of beat and each worker, and how long ago it was last heard from."""
    if isinstance(health, str):
        return {}
    beat = {"beat": (health["beat"], "")} if "beat" in health else {}
    workers = {
        _process(worker["name"]): (worker["state"], silence_text(worker["silent_seconds"]))
        for worker in health.get("workers", ())
    }
    return {**beat, **workers}


def queue_lines(health: Health | str) -> Iterator[str]:
    """Yield one line per queue: its state, the waiting messages, and how long ago one was consumed."""
    queues = [] if isinstance(health, str) else health.get("queues", ())
    if queues:
        yield f"{'queue':<20} {'waiting':>8}  {'state':<10} last consumed"
    for queue in queues:
        waiting = "?" if queue["messages_waiting"] is None else queue["messages_waiting"]
        yield f"{queue['name']:<20} {waiting:>8}  {queue['state']:<10} {silence_text(queue['silent_seconds'])} ago"


def silence_text(seconds: float | None) -> str:
    """Return how long a queue or process was silent; the API gives ``None`` if it was never heard from."""
    return "an unknown time" if seconds is None else format_duration(seconds)


def _is_ours(part: Mapping[str, Any], info: RunInfo) -> bool:
    """Return whether this stack started the silent part. A service left out on purpose is not a fault."""
    parts = {name.partition("-")[0] for name in info["names"]}
    needed = {"queue": "worker", "beat": "beat", "broker": "api"}
    if part["kind"] == "worker":
        return _process(part["name"]) in info["names"]
    return needed[part["kind"]] in parts


def _process(name: str) -> str:
    return name.partition("@")[0]
