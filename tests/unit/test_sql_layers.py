"""SQL respects the layers: a package's statements name only tables of its own layer or of a lower one.

Import-linter checks imports, not SQL. A statement that has to read or write a table of a higher layer explains it in a
comment, in the statement or directly above it, with the words "higher layer", the table's name and the reason.
"""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from mpac.stack.state_folder import ROOT

DOMAIN = ROOT / "workflows"
MARK = "higher layer"

_DEFINED = re.compile(r'__tablename__ = "(\w+)"|\bTable\(\s*"(\w+)"')
_NAMED = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|USING)\s+(?:ONLY\s+)?(\w+)")


class Use(NamedTuple):
    """A table that a statement names, with the statement's comments."""

    line: int
    table: str
    comments: str


@cache
def layers() -> Mapping[str, int]:
    """Return the layer of each package and module of the domain; 0 is the lowest."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [one for one in contracts if one.get("containers") == ["workflows"]]
    return {
        name.strip().strip("()"): height
        for height, line in enumerate(reversed(contract["layers"]))
        for name in line.split("|")
    }


def package_of(path: Path) -> str:
    """Return the package or module of the domain to which a file belongs."""
    return path.relative_to(DOMAIN).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    """Return the files of the domain."""
    return [path for path in sorted(DOMAIN.rglob("*.py")) if path != DOMAIN / "__init__.py"]


@cache
def tables() -> Mapping[str, str]:
    """Return the package that defines each table."""
    return {
        mapped or plain: package_of(path) for path in modules() for mapped, plain in _DEFINED.findall(path.read_text())
    }


def uses(source: str) -> Iterator[Use]:
    """Yield each mention of a table in a module's string literals, docstrings excluded."""
    lines = source.splitlines()
    for statement in ast.walk(ast.parse(source)):
        if not isinstance(statement, ast.stmt) or is_docstring(statement):
            continue
        above = comments_above(lines, statement.lineno)
        for child in ast.iter_child_nodes(statement):
            for line, string in strings(child):
                for table in _NAMED.findall(string):
                    yield Use(line, table, f"{above}\n{string}")


def is_docstring(statement: ast.stmt) -> bool:
    """Return whether a statement consists of a string only."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and value of each string literal below ``node``, except in nested statements."""
    if isinstance(node, ast.stmt):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    for child in ast.iter_child_nodes(node):
        yield from strings(child)


def comments_above(lines: list[str], line: int) -> str:
    """Return the comment lines directly above a line."""
    first = line - 1
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return "\n".join(lines[first : line - 1])


def is_explained(use: Use) -> bool:
    """Return whether the statement's comments name the table as one of a higher layer."""
    comments = " ".join(re.findall(r"(?:--|#).*", use.comments))
    return MARK in comments and re.search(rf"\b{use.table}\b", comments) is not None


def is_above(table: str, package: str) -> bool:
    """Return whether the table's layer is higher than the package's."""
    return table in tables() and layers()[tables()[table]] > layers()[package]


def test_statements_name_tables_of_their_own_layer_or_below() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{use.line}: {use.table} belongs to {tables()[use.table]}"
        for path in modules()
        for use in uses(path.read_text())
        if is_above(use.table, package_of(path)) and not is_explained(use)
    ]
    assert not found, "\n".join([f"name the table and the reason in a comment with {MARK!r}", *found])


@pytest.mark.parametrize(
    ("source", "explained"),
    [
        ('_READ = text("SELECT id FROM payments")', False),
        ('async def read() -> None:\n    await execute(f"UPDATE payments SET x = {y}")', False),
        ('# payments is of a higher layer: one round trip\n_READ = text("SELECT 1 FROM payments")', True),
        ('_READ = text("""\n-- of a higher layer: payments, for one round trip\nSELECT 1 FROM payments""")', True),
        ('# refunds is of a higher layer\n_READ = text("SELECT 1 FROM payments")', False),
        ('# payments is of a higher layer\n\n_READ = text("SELECT 1 FROM payments")', False),
    ],
)
def test_table_of_a_higher_layer_is_found_unless_a_comment_explains_it(source: str, *, explained: bool) -> None:
    (use,) = uses(source)
    assert use.table == "payments"
    assert is_above(use.table, "orders")
    assert is_explained(use) is explained


def test_docstring_is_not_a_statement() -> None:
    assert list(uses('"""Rows FROM payments."""\n')) == []


def test_every_package_has_a_layer_and_tables_are_found() -> None:
    assert {package_of(path) for path in modules()} <= set(layers())
    assert {tables()[name] for name in ("payments", "refunds", "stores", "dead_letters")} == {
        "payments",
        "refunds",
        "tenants",
        "ops",
    }
