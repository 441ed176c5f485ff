"""`migrate --new NAME` writes a migration that follows the newest one, or explains what is wrong with the name."""

import ast
import shutil
from pathlib import Path

import pytest

from mpac.cli.errors import UserError, WrongUsage
from mpac.devtools.new_migration import MIGRATIONS, new_migration
from mpac.stack.schema import ASSIGNMENT, newest_revisions


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """Return a copy of the migrations in a folder whose name contains a percent sign."""
    folder = tmp_path / "50%" / "migrations"
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def sources(folder: Path) -> list[str]:
    return [file.read_text() for file in (folder / "versions").glob("*.py")]


def test_new_migration_follows_the_newest_one(migrations: Path) -> None:
    (before,) = newest_revisions(sources(migrations))
    file = new_migration("add_tip_limit", migrations=migrations)
    assert file.name == f"{int(before) + 1:04}_add_tip_limit.py"
    assert dict(ASSIGNMENT.findall(file.read_text())) == {"revision": file.name[:4], "down_revision": before}
    assert newest_revisions(sources(migrations)) == {file.name[:4]}


def test_new_migration_is_valid_python_with_docstring_functions_and_statement_timeout(migrations: Path) -> None:
    text = new_migration("add_tip_limit", migrations=migrations).read_text()
    module = ast.parse(text)
    assert (ast.get_docstring(module) or "").startswith("Add tip limit.\n\n")
    assert [node.name for node in module.body if isinstance(node, ast.FunctionDef)] == ["upgrade", "downgrade"]
    assert "SET LOCAL statement_timeout = '10s'" in text


@pytest.mark.parametrize(
    "name", ["", "Add", "add-limit", "add limit", "1st", "_x", "x_", "a__b", "../x", "日本", "a" * 41]
)
def test_new_migration_refuses_a_name_that_is_not_snake_case(migrations: Path, name: str) -> None:
    before = sorted(migrations.rglob("*.py"))
    with pytest.raises(WrongUsage, match="is not a name for a migration"):
        new_migration(name, migrations=migrations)
    assert sorted(migrations.rglob("*.py")) == before


def test_new_migration_refuses_a_name_that_another_migration_has(migrations: Path) -> None:
    first = new_migration("add_tip_limit", migrations=migrations)
    with pytest.raises(UserError, match=rf"{first.name} has this name already"):
        new_migration("add_tip_limit", migrations=migrations)


def test_new_migration_refuses_two_newest_revisions(migrations: Path) -> None:
    newest = new_migration("add_tip_limit", migrations=migrations)
    other = newest.with_name("9000_other.py")
    other.write_text(newest.read_text().replace(f'revision = "{newest.name[:4]}"', 'revision = "9000"'))
    with pytest.raises(UserError, match="exactly one newest migration, not 2"):
        new_migration("add_tax_rate", migrations=migrations)
