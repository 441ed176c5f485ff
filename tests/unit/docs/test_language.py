"""Prose of this project avoids the constructions below; each has advice on what to write instead.

Docstrings, comments, messages (any string with a blank, SQL included) and Markdown are searched. A construction is listed
if it made readers stop and hardly ever has a legitimate use. CONTRIBUTING.md has the other rules.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from mpac.stack.state_folder import ROOT

INSTEAD: Mapping[str, str] = {
    r"\bbe (it|they) (a|an|the|by|in|on|after|before|twice)\b": "whether … or …",
    r"\bfor ?ever\b": "permanently",
    r"\banew\b": "again",
    r"\bsees? to (it|them|that|the)\b": "handles, makes sure",
    r"\bcomes? to (all|more|less|no|nothing|what|\d)": "adds up to",
    r"\bsings?\b": "acknowledges",
    r"\bgiven back\b": "refunded, returned",
    r"\bgo(es)? by\b": "follows, is decided by",
    r"\b(is|are) no (JSON|UUID|UTF-8|number|text|date|word|code|address|entity['’]s)\b": "is not valid …, is not a …",
    r"\bnobody['’]s\b": "belongs to no …",
    r"\b(in the|of the|whole) house\b|\bhouse rules?\b": "name the component, or the rule",
    r"\b(first|second|own|one) wall\b": "check, barrier",
    r"\bin (its|our|their|whose|one['’]s|\w+['’]s) hands?\b|\bin hand\b(?!-)": "claimed, in progress",
    r"\b(one|the|this) doors?\b": "the only function that …",
    r"\bpatience\b": "timeout, wait",
    r"\bjudg(e|es|ed|ing)\b": "check, classify, audit; the auditors",
    r"\b(bury|buried)\b": "store as a dead letter",
    r"\bstrangers?\b": "unknown callers",
    r"\bspeaks? against\b": "is wrong with",
    r"\b(is|are|was|were|be|been) told(?! to\b)": "is reported, is answered",
    r"\b(an|this|that|one) instant\b|\binstants\b": "timestamp, moment",
    r"\bthose of these\b|\bof (these|those) that\b": "Return the … that",
    r"\bpress(es)? again\b": "a second Ctrl-C",
    r"<word>|\bwords of the command line\b": "command",
}

LEADING = re.compile(r"(Who|What|Whoever|Whose|Nobody|Neither)\b")
"""Words with which no docstring may begin: name the thing, or use a verb."""

SUMMARY_LIMIT = 100
"""The characters of a function's summary: a longer one holds two thoughts, and the second belongs below it."""

PRODUCT = ("api", "workers", "workflows", "beat", "mpac", "sandbox", "benchmarks")
_ALL = re.compile("|".join(f"(?:{pattern})" for pattern in INSTEAD), re.IGNORECASE)
_CODE = re.compile(
    r"<!-- generated: (\w+) -->.*?<!-- end: \1 -->|```.*?```|`[^`\n]*`|\]\([^)]*\)|<!--.*?-->", re.DOTALL
)


class Prose(NamedTuple):
    """A piece of text with its line number."""

    line: int
    text: str
    is_docstring: bool


def of_module(source: str) -> Iterator[Prose]:
    """Yield the docstrings, the other strings with a blank, and the comments of a module."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield Prose(node.lineno, " ".join(node.value.split()), id(node) in docstrings)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Prose(token.start[0], token.string, False)


def of_page(text: str) -> Iterator[Prose]:
    """Yield the lines of a Markdown page without code, link targets and HTML comments."""
    blank = _CODE.sub(lambda code: "\n" * code.group().count("\n"), text)
    for number, line in enumerate(blank.splitlines(), 1):
        yield Prose(number, line, False)


def findings(prose: Iterator[Prose]) -> Iterator[str]:
    """Yield each line number with the construction found and the advice."""
    for line, text, is_docstring in prose:
        if is_docstring and (leading := LEADING.match(text)):
            yield f"{line}: a docstring begins with {leading.group()!r}: name the thing, or use a verb"
        for found in _ALL.finditer(text):
            advice = next(
                to for pattern, to in INSTEAD.items() if re.search(pattern, found.group() + " x", re.IGNORECASE)
            )
            yield f"{line}: {found.group()!r}: write {advice}"


def files() -> Iterator[Path]:
    """Yield all files that are searched."""
    for package in PRODUCT:
        yield from sorted((ROOT / package).rglob("*.py"))
    yield ROOT / "run.py"
    yield from sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "sandbox").rglob("*.md")])


def in_file(path: Path) -> list[str]:
    """Return the findings of a file."""
    text = path.read_text()
    return [
        f"{path.relative_to(ROOT)}:{one}"
        for one in findings(of_module(text) if path.suffix == ".py" else of_page(text))
    ]


def long_summaries(source: str) -> Iterator[str]:
    """Yield the line number and name of each function whose summary is longer than the limit."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            if len(summary) > SUMMARY_LIMIT:
                yield f"{node.lineno}: the summary of {node.name} has {len(summary)} characters"


def test_prose_uses_no_listed_construction() -> None:
    found = [one for path in files() for one in in_file(path)]
    assert not found, "\n".join(["CONTRIBUTING.md explains the language of this project", *found])


@pytest.mark.parametrize(
    "source",
    [
        '"""Whoever waits goes together."""',
        'def one() -> None:\n    """What is asked."""',
        'x = "its body is no JSON"',
        "x = 1  # it would wait for ever",
        'x = f"the money was given back {1}"',
        'x = """\n    SELECT 1 -- lock: in the order of the house\n"""',
    ],
)
def test_construction_is_found_in_docstrings_comments_and_messages(source: str) -> None:
    assert len(list(findings(of_module(source)))) == 1


def test_summaries_of_functions_have_at_most_100_characters() -> None:
    modules = [path for folder in (*PRODUCT, "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = [
        f"{path.relative_to(ROOT)}:{summary}"
        for path in (*modules, ROOT / "run.py")
        for summary in long_summaries(path.read_text())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("summary", "found"), [("x" * SUMMARY_LIMIT, 0), ("x" * (SUMMARY_LIMIT + 1), 1)])
def test_only_a_summary_above_the_limit_is_found(summary: str, found: int) -> None:
    source = f'def one() -> None:\n    """{summary}\n\n    {"x" * 120}"""'
    assert len(list(long_summaries(source))) == found


def test_code_in_a_page_is_not_searched() -> None:
    text = "It is `anew`.\n```python\nfor ever = anew\n```\n[one](anew.md)\nIt waits for ever."
    assert list(findings(of_page(text))) == ["6: 'for ever': write permanently"]


def test_every_construction_has_advice() -> None:
    for pattern, advice in INSTEAD.items():
        assert re.compile(pattern), advice
        assert advice.strip()
