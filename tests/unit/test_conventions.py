"""Rules of this project that no linter checks, verified by reading the source."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from workflows.providers.base import Provider

ROOT = Path(__file__).parents[2]
PRODUCT = ("api", "workers", "workflows", "beat")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def sources(*packages: str) -> list[Path]:
    """Return the modules of ``packages``; fail if a package has none.

    The rules of a package without modules would check nothing.
    """
    found = {package: sorted((ROOT / package).rglob("*.py")) for package in packages}
    assert all(found.values()), [package for package, paths in found.items() if not paths]
    return [path for paths in found.values() for path in paths]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def texts(path: Path) -> Iterator[str]:
    """Yield every string in the code, SQL included, except docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


# Modules that write a status: the function for single rows and its set-based versions. Each writes the history, too.
STATUS_WRITERS = {
    "workflows/devices/register.py",
    "workflows/transitions.py",
    "workflows/processing/shared_statements.py",
    "workflows/payments/record.py",
    "workflows/refunds/record.py",
    "workflows/bills/lock.py",
    "workflows/bills/apply_payments.py",
    "workflows/orders/write_orders.py",
    "workflows/settlements/write_settlements.py",
}
OTHER_STATUSES = {"workflows/requests/idempotency.py"}
"""Modules whose status is an HTTP status, not that of an entity."""
WRITES_STATUS = re.compile(r"\bSET\b(?:(?!\bWHERE\b|\bFROM\b).)*?(?<![\w.])status\s*=(?!=)", re.DOTALL)


def test_only_the_listed_modules_write_a_status_in_sql() -> None:
    writers = {name(path) for path in sources(*PRODUCT) for text in texts(path) if WRITES_STATUS.search(text)}
    assert writers - OTHER_STATUSES <= STATUS_WRITERS
    assert "workflows/payments/record.py" in writers, "the pattern finds nothing any more"


CALLS_OF_PROVIDERS = {name for name, member in vars(Provider).items() if callable(member) and not name.startswith("_")}
CALLS_OF_NETWORKS = {"request", "exchange"}
"""Names of methods of HTTP clients."""


def called(node: ast.AST) -> str:
    """Return the last name of a call, for example ``inquire`` for ``provider.inquire(…)``."""
    function = node.func if isinstance(node, ast.Call) else None
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def status_assignments(module: ast.Module) -> list[str]:
    """Return the code of each statement that sets an entity's status outside SQL text."""
    found = []
    for node in ast.walk(module):
        is_target = isinstance(node, ast.Attribute) and node.attr == "status" and isinstance(node.ctx, ast.Store)
        is_setattr = called(node) == "setattr" and "'status'" in [ast.unparse(part) for part in node.args]  # type: ignore[attr-defined]
        is_values = called(node) == "values" and "status" in columns_of(node)
        if is_target or is_setattr or is_values:
            found.append(ast.unparse(node))
    return found


def columns_of(node: ast.AST) -> set[str]:
    """Return the columns that a call of ``values`` names, by keyword or in a dictionary."""
    assert isinstance(node, ast.Call)
    dictionaries = [argument for argument in node.args if isinstance(argument, ast.Dict)]
    keys = [key.value for each in dictionaries for key in each.keys if isinstance(key, ast.Constant)]
    return {str(key) for key in [*keys, *(keyword.arg for keyword in node.keywords)]}


DECIDES_A_STATUS = {"workflows/processing/decide.py"}
"""Modules whose status belongs to a decision, which a statement of ``record`` writes into the row."""


def test_no_code_assigns_the_status_of_an_entity() -> None:
    found = {name(path): code for path in sources(*PRODUCT) if (code := status_assignments(tree(path)))}
    assert {place: code for place, code in found.items() if place not in DECIDES_A_STATUS} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "row.status = 'paid'",
        "row.status: str = 'paid'",
        "row.status += 'x'",
        "for row.status in names: pass",
        "setattr(row, 'status', 'paid')",
        "update(Bill).values(status='paid')",
        "update(Bill).values({'status': 'paid', 'version': 2})",
    ],
)
def test_the_check_finds_a_status_assignment_in_every_form(statement: str) -> None:
    assert len(status_assignments(ast.parse(statement))) == 1
    assert status_assignments(ast.parse(statement.replace("status", "note"))) == []


def transaction_blocks(module: ast.Module) -> Iterator[ast.AsyncWith]:
    """Yield each ``async with`` of a ``transaction``, ``caller_transaction`` or ``actor.transaction``."""
    for node in ast.walk(module):
        opened = [called(item.context_expr) for item in node.items] if isinstance(node, ast.AsyncWith) else []
        if isinstance(node, ast.AsyncWith) and any(word.endswith("transaction") for word in opened):
            yield node


def providers_called_within_transactions(module: ast.Module) -> list[str]:
    return [
        node.func.attr
        for block in transaction_blocks(module)
        for node in ast.walk(block)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr in CALLS_OF_PROVIDERS | CALLS_OF_NETWORKS
    ]


def test_no_provider_is_called_within_a_transaction() -> None:
    assert [name(path) for path in sources("workflows") if providers_called_within_transactions(tree(path))] == []


def test_the_check_finds_a_provider_call_within_a_transaction_in_every_form() -> None:
    """Run the check on code that calls a provider within a transaction, in each possible form."""
    assert {"charge", "inquire", "withdraw", "refund", "inquire_refund", "statement"} <= CALLS_OF_PROVIDERS
    for opening in ("transaction(Role.WORKER)", "caller_transaction(caller)", "actor.transaction()"):
        for call in ("await provider.refund(refund)", "async for page in provider.statement(account): pass"):
            module = ast.parse(f"async def use():\n async with {opening} as connection:\n  {call}")
            assert len(providers_called_within_transactions(module)) == 1, (opening, call)
    blocks = [block for path in sources("workflows") for block in transaction_blocks(tree(path))]
    openings = {ast.unparse(item.context_expr) for block in blocks for item in block.items}
    assert {"actor.transaction()", "caller_transaction(caller)", "transaction(Role.WORKER)"} <= openings


def test_only_use_cases_open_transactions() -> None:
    for package in ("api", "workers", "beat"):
        for path in sources(package):
            assert not list(transaction_blocks(tree(path))), f"{name(path)} opens a transaction"
            assert "sqlalchemy" not in {module.partition(".")[0] for module in imports(path)}, name(path)


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*/states.py")), ids=name)
def test_a_transition_table_imports_only_the_state_machine_and_the_standard_library(path: Path) -> None:
    assert imports(path) <= {"enum", "workflows.state_machine"}


def tasks(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "app.task":
                    named = {one.arg: one.value for one in decorator.keywords}
                    yield ast.literal_eval(named["name"]), node


WORKER_TASKS = [(path, task, node) for path in sources("workers") for task, node in tasks(path)]
ALL_TASKS = WORKER_TASKS + [(path, task, node) for path in sources("beat") for task, node in tasks(path)]


@pytest.mark.parametrize(("path", "task", "node"), WORKER_TASKS, ids=[task for _, task, _ in WORKER_TASKS])
def test_a_worker_task_is_a_single_call_into_the_domain(
    path: Path, task: str, node: ast.FunctionDef | ast.AsyncFunctionDef
) -> None:
    assert ast.get_docstring(node), "a task says what it may be relied on for"
    inside = [inner for statement in node.body[1:] for inner in ast.walk(statement)]
    runs = [inner for inner in inside if isinstance(inner, ast.Call) and ast.unparse(inner.func) == "run"]
    awaits = [inner for inner in inside if isinstance(inner, ast.Await)]
    assert len(runs) + len(awaits) == 1
    # A task may nudge the ids it returns, or loop over ids. Anything more is a rule and belongs in the domain.
    assert not [inner for inner in inside if isinstance(inner, ast.Try | ast.While | ast.With | ast.Raise)], name(path)
    assert sum(isinstance(inner, ast.stmt) for inner in inside) <= 3


def test_every_task_name_begins_with_its_queue() -> None:
    queues = ("payments", "refunds", "settlements", "webhooks", "sweeps")
    named = [task for _, task, _ in ALL_TASKS]
    assert "payments.process" in named
    assert len(set(named)) == len(named)
    # A canary is sent through the queue under test, so its name cannot contain the queue.
    assert [task for task in named if task.partition(".")[0] not in (*queues, "canaries")] == []


WALL_CLOCKS = {"time.time", "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time_ns"}
EXCUSED = {
    "workflows/clock.py": "it is the clock",
    "api/limits.py": "a window of the wall clock that all processes share",
    "workflows/logs.py": "the time of a line that is written without a record, which reads the wall clock too",
}


def test_only_the_clock_module_reads_the_wall_clock() -> None:
    readers = {
        name(path)
        for path in sources(*PRODUCT)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in WALL_CLOCKS
    }
    assert readers == EXCUSED.keys()


ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


def environment_reads(module: ast.Module) -> list[str]:
    """Return the code of each use of the environment, through ``os`` or an import from it."""
    attributes = [node for node in ast.walk(module) if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT]
    from_os = [node for node in ast.walk(module) if isinstance(node, ast.ImportFrom) and node.module in {"os", "posix"}]
    imported = [node for node in from_os if {alias.name for alias in node.names} & {*ENVIRONMENT, "*"}]
    return [ast.unparse(node) for node in (*attributes, *imported)]


def test_no_module_of_the_domain_or_the_api_reads_the_environment() -> None:
    assert {name(path): found for path in sources("workflows", "api") if (found := environment_reads(tree(path)))} == {}


@pytest.mark.parametrize(
    "code",
    [
        "os.environ['MPAC_X']",
        "os.getenv('MPAC_X')",
        "os.environb[b'MPAC_X']",
        "from os import environ",
        "from os import path, getenv as read",
        "from os import *",
    ],
)
def test_the_check_finds_a_read_of_the_environment_in_every_form(code: str) -> None:
    assert len(environment_reads(ast.parse(code))) == 1


def test_every_module_has_a_docstring() -> None:
    silent = [name(path) for path in sources(*PRODUCT) if tree(path).body and not ast.get_docstring(tree(path))]
    assert silent == []


def test_no_file_or_function_is_longer_than_its_limit() -> None:
    everything = sources(*PRODUCT, "mpac", "sandbox")
    files = [*everything, *sources("benchmarks", "tests")]
    assert [name(path) for path in files if len(path.read_text().splitlines()) > 300] == []
    for path in everything:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                assert lines <= 50, f"{name(path)}: {node.name} has {lines} lines"


def test_names_of_tests_are_sentences() -> None:
    for path in sources("tests"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert node.name.count("_") >= 3, f"{name(path)}: {node.name}"


READ_THE_PROCESS_CLOCK = {"workflows/tenants/tokens.py", "workflows/devices/client_assertions.py"}
"""Token lifetimes are measured by the process's clock; every date in a row is the database's (docs/decisions/0030)."""


def test_only_tokens_use_the_clock_of_the_process() -> None:
    readers = {name(path) for path in sources(*PRODUCT) if "workflows.clock" in imports(path)}
    assert readers == READ_THE_PROCESS_CLOCK
