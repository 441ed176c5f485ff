"""docs/operations.md explains every event that the product logs, and no other."""

import ast
import re
from collections.abc import Iterator

from mpac.stack.state_folder import ROOT

PRODUCT = ("api", "workers", "workflows", "beat")
NAME = re.compile(r"[a-z_]+\.[a-z_]+")

SILENCES = ("queue.silent", "worker.silent", "worker.deaf", "beat.silent", "broker.silent", "database.silent")
"""The values of ``f"{part.kind}.{part.state}"`` in ``workflows/ops/silence_rules.py``."""


def patterns() -> Iterator[str]:
    """Yield each ``"event": …`` of a log call as a regular expression.

    An f-string's placeholder matches any name.
    """
    for package in PRODUCT:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Dict):
                    for key, value in zip(node.keys, node.values, strict=True):
                        if isinstance(key, ast.Constant) and key.value == "event":
                            yield from of_value(value)


def of_value(value: ast.expr) -> Iterator[str]:
    """Yield the pattern of a value, if it has the form of a log event: ``part.what_happened``."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str) and NAME.fullmatch(value.value):
        yield re.escape(value.value)
    elif isinstance(value, ast.IfExp):
        yield from of_value(value.body)
        yield from of_value(value.orelse)
    elif isinstance(value, ast.JoinedStr):
        parts = [re.escape(str(part.value)) if isinstance(part, ast.Constant) else "[a-z_]+" for part in value.values]
        pattern = "".join(parts)
        yield from (pattern,) if re.search(r"[a-z]{3}", pattern.replace("[a-z_]+", "")) else map(re.escape, SILENCES)


def explained() -> set[str]:
    """Return the events in the table of docs/operations.md."""
    section = (ROOT / "docs" / "operations.md").read_text().partition("## Log events")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([a-z_.]+)` \|", section, re.MULTILINE))


def test_every_logged_event_is_explained_and_every_explained_event_is_logged() -> None:
    logged, events = set(patterns()), explained()
    assert len(logged) > 20, "the pattern finds nothing any more"
    missing = sorted(pattern for pattern in logged if not any(re.fullmatch(pattern, event) for event in events))
    assert not missing, "add these to the table of log events in docs/operations.md"
    unknown = sorted(event for event in events if not any(re.fullmatch(pattern, event) for pattern in logged))
    assert not unknown, "no code logs these any more"


def test_explained_events_are_sorted() -> None:
    section = (ROOT / "docs" / "operations.md").read_text().partition("## Log events")[2].partition("\n## ")[0]
    events = re.findall(r"^\| `([a-z_.]+)` \|", section, re.MULTILINE)
    assert events == sorted(events)
