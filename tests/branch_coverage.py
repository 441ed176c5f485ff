"""Measure which statements and branches of ``workflows`` the tests run, cheaply enough for the whole suite.

coverage.py traces every call of every library: it made integration tests 75 % slower in CPU time. This module instead rewrites
each module of ``workflows`` during its import: every statement is preceded by an assignment that sets one byte of a table. An
``if``, loop or ``match`` without an alternative gets one that only sets its byte. The product's files do not change.

``FOLDER_VARIABLE`` names the folder with one table per module. All processes map the same files into their memory, so a
process that is killed has recorded everything it ran until then. Processes that the tests start are measured as well, because
``PYTHONPATH`` contains ``tests/coverage_hook``. ``report`` lists each statement and branch that never ran, and the total.

A statement, ``except`` or ``case`` whose first line has a comment ``# untested: REASON`` is not listed, nor is what it
contains. It counts as not run.
"""

import ast
import marshal
import mmap
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = "workflows"
FOLDER_VARIABLE = "BRANCH_COVERAGE_FOLDER"
TABLE = "_statements_run"
REASON = "# untested: "


class Point(NamedTuple):
    """A statement, or a branch of one (``line → alternative``), whose execution is recorded."""

    line: int
    branch: str = ""

    @property
    def target(self) -> int:
        """The line of the alternative; 0 for a statement, or a branch that skips all alternatives (``past``)."""
        return int(self.branch) if self.branch.isdigit() else 0

    def __str__(self) -> str:
        return f"{self.line}→{self.branch}" if self.branch else str(self.line)


class Plan:
    """The syntax tree of a module, instrumented with one assignment per point, and the list of its points."""

    def __init__(self, source: bytes | str, path: str) -> None:
        self.statements: list[int] = []
        self.branches: list[tuple[Point, int]] = []
        self._lines: list[int] = []
        self._places: dict[int, int] = {}  # byte of each inserted assignment, by the ``id`` of its node
        self.tree = ast.parse(source, path)
        self.explained = _explained(source, self.tree)
        self._mark_bodies(self.tree)
        ast.fix_missing_locations(self.tree)

    @property
    def size(self) -> int:
        """The number of bytes in the table."""
        return len(self._lines)

    def missing(self, run: bytes) -> list[Point]:
        """Return the statements and branches that did not run and have no reason.

        A branch is included only if its condition ran.
        """
        lines = [Point(self._lines[place]) for place in self.statements if not run[place]]
        never = {point.line for point in lines}
        branches = [point for point, place in self.branches if not run[place] and point.line not in never]
        bodies = {point.target for point in branches}
        missing = (point for point in (*lines, *branches) if point.branch or point.line not in bodies)
        return sorted(point for point in missing if self.explained.isdisjoint((point.line, point.target)))

    def count(self, run: bytes) -> tuple[int, int, int, int]:
        """Return four counts: statements run, all statements, branches taken, all branches."""
        statements, branches = self.statements, [place for _, place in self.branches]
        return sum(run[p] > 0 for p in statements), len(statements), sum(run[p] > 0 for p in branches), len(branches)

    def _mark_bodies(self, node: ast.AST) -> None:
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list) and body:
                setattr(node, name, self._marked(body))
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            part.body = self._marked(part.body)
        if isinstance(node, ast.If | ast.While | ast.For | ast.AsyncFor):
            self._mark_alternatives(node)
        elif isinstance(node, ast.Match):
            self._mark_cases(node)

    def _marked(self, body: list[ast.stmt]) -> list[ast.stmt]:
        marked: list[ast.stmt] = []
        for statement in body:
            is_silent = isinstance(statement, ast.Expr) and isinstance(
                statement.value, ast.Constant
            )  # docstring, `...`
            is_future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
            if not is_silent and not is_future:
                self.statements.append(self.size)
                marked.append(self._mark(statement.lineno))
                self._mark_bodies(statement)
            marked.append(statement)
        return marked

    def _mark_alternatives(self, node: ast.If | ast.While | ast.For | ast.AsyncFor) -> None:
        if isinstance(node, ast.If | ast.While) and isinstance(node.test, ast.Constant):
            return  # `while True` has one way only
        self._branch(node.lineno, str(_line(node.body)), node.body)
        if not node.orelse:
            node.orelse = [self._mark(node.lineno)]
            self._branch(node.lineno, "past", node.orelse)
        else:
            self._branch(node.lineno, str(_line(node.orelse)), node.orelse)

    def _mark_cases(self, node: ast.Match) -> None:
        for case in node.cases:
            self._branch(node.lineno, str(_line(case.body)), case.body)
        last = node.cases[-1]
        if last.guard or not isinstance(last.pattern, ast.MatchAs) or last.pattern.pattern:
            node.cases.append(ast.match_case(ast.MatchAs(), None, [self._mark(node.lineno)]))
            self._branch(node.lineno, "past", node.cases[-1].body)

    def _branch(self, line: int, alternative: str, body: list[ast.stmt]) -> None:
        if (place := self._places.get(id(body[0]))) is not None:  # otherwise the alternative is a docstring or `...`
            self.branches.append((Point(line, alternative), place))

    def _mark(self, line: int) -> ast.stmt:
        """Return a statement, placed at ``line``, that sets the next byte of the coverage table.

        The line is recorded.
        """
        (mark,) = ast.parse(f"{TABLE}[{self.size}] = 1").body
        for node in ast.walk(mark):
            if isinstance(node, ast.stmt | ast.expr):
                node.lineno = node.end_lineno = line
        self._places[id(mark)] = self.size
        self._lines.append(line)
        return mark


def _explained(source: bytes | str, tree: ast.Module) -> set[int]:
    """Return the lines of all statements, handlers and cases that are marked with a reason."""
    text = source.decode() if isinstance(source, bytes) else source
    marked = {number for number, line in enumerate(text.splitlines(), start=1) if REASON in line}
    lines: set[int] = set()
    for node in ast.walk(tree) if marked else ():
        first = node.pattern.lineno if isinstance(node, ast.match_case) else getattr(node, "lineno", 0)
        if first in marked and isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            last = node.body[-1] if isinstance(node, ast.match_case) else node
            lines.update(range(first, (last.end_lineno or first) + 1))
    return lines


def _line(body: list[ast.stmt]) -> int:
    return body[0].lineno


class _Loader(SourceFileLoader):
    """Load a module in its instrumented form. The byte code is stored beside the tables, as it differs from the file's."""

    def get_code(self, fullname: str) -> CodeType:
        return self._load()[1]

    def exec_module(self, module: ModuleType) -> None:
        size, code = self._load()
        module.__dict__[TABLE] = _shared_table(self._stored(".table"), size)
        exec(code, module.__dict__)

    def _load(self) -> tuple[int, CodeType]:
        """Return the size of the module's table, and its code.

        The first process that needs them compiles and stores them.
        """
        stored = self._stored(f".{sys.implementation.cache_tag}")
        try:
            loaded: tuple[int, CodeType] = marshal.loads(stored.read_bytes())
        except OSError:
            plan = Plan(self.get_data(self.path), self.path)
            loaded = plan.size, compile(plan.tree, self.path, "exec", dont_inherit=True)
            with suppress(OSError):  # without the right to write there, each process compiles
                ready = stored.with_name(f"{stored.name}.{os.getpid()}")
                ready.write_bytes(marshal.dumps(loaded))
                ready.replace(stored)
        return loaded

    def _stored(self, suffix: str) -> Path:
        name = Path(self.path).relative_to(ROOT).as_posix().replace("/", ".")
        return Path(os.environ[FOLDER_VARIABLE]) / f"{name}{suffix}"


def _shared_table(file: Path, size: int) -> mmap.mmap | bytearray:
    """Return a table shared by all processes, or an unused one if the folder must not be written to."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return bytearray(size)
    try:
        os.ftruncate(descriptor, max(size, 1))
        return mmap.mmap(descriptor, max(size, 1))
    finally:
        os.close(descriptor)


class _Finder(MetaPathFinder):
    """A meta-path finder that loads modules of the measured package through ``_Loader``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != PACKAGE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and spec.origin and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.origin)
        return spec


def measure() -> None:
    """Start to measure if ``FOLDER_VARIABLE`` names a folder.

    Call this function before anything of the package is imported.
    """
    is_wanted = PACKAGE not in sys.modules and Path(os.environ.get(FOLDER_VARIABLE, "missing")).is_dir()
    is_hooked = any(type(finder).__name__ == _Finder.__name__ for finder in sys.meta_path)  # by ``coverage_hook``
    if is_wanted and not is_hooked:
        sys.meta_path.insert(0, _Finder())


def report(folder: Path) -> str:
    """Return a text with each module's missing statements and branches, and the total as its last line."""
    lines: list[str] = []
    total = (0, 0, 0, 0)
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        name, plan = path.relative_to(ROOT).as_posix(), Plan(path.read_bytes(), str(path))
        table = folder / f"{name.replace('/', '.')}.table"
        run = table.read_bytes() if table.exists() else bytes(plan.size)
        total = tuple(one + more for one, more in zip(total, plan.count(run), strict=True))  # type: ignore[assignment]
        if missing := plan.missing(run):
            lines.append(f"{name}: {', '.join(map(str, missing))}")
    ran, statements, taken, branches = total
    percent = 100 * (ran + taken) / max(statements + branches, 1)
    return "\n".join(
        [
            *lines,
            f"{PACKAGE}: {percent:.1f} % covered: {ran:,} of {statements:,} statements, "
            f"{taken:,} of {branches:,} branches",
        ]
    )
