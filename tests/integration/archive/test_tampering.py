"""A carried row that was changed, added or deleted is found, and so is a damaged file before its tables are dropped."""

import gzip
from pathlib import Path

import pytest

from tests.integration.archive.archive_helpers import archive, broken_rules, live_payments, problems, restore, rows
from tests.integration.archive.conftest import POLICY, OldShop
from workflows.archive.archive import WrongMonth, archiving
from workflows.archive.files import FilesDiffer

RECEIVABLE = "(SELECT id FROM ledger_accounts WHERE kind = 'receivable')"
SALES = "(SELECT id FROM ledger_accounts WHERE kind = 'sales' AND provider = 'sandbox')"
TIPS = "(SELECT id FROM ledger_accounts WHERE kind = 'tips')"
PLANTED = (
    (
        {"carried balances", "carried rows", "settlements as in the ledger"},
        "DELETE FROM carried_balances",
    ),
    (
        {"carried balances", "carried sums", "carried rows", "settlements as in the ledger"},
        f"UPDATE carried_balances SET amount = amount + 1 WHERE account_id = {RECEIVABLE} AND kind = 'completion'",
    ),
    (
        {"carried balances", "carried rows", "settlements as in the ledger"},
        f"""UPDATE carried_balances SET amount = amount + CASE account_id WHEN {RECEIVABLE} THEN 1 ELSE -1 END
            WHERE account_id IN ({RECEIVABLE}, {SALES}) AND kind = 'completion'""",
    ),
    (
        {"carried rows"},
        f"""UPDATE carried_balances SET amount = amount + CASE account_id WHEN {TIPS} THEN 1 ELSE -1 END
            WHERE account_id IN ({TIPS}, {SALES}) AND kind = 'completion'""",
    ),
    ({"carried balances", "carried rows"}, f"UPDATE carried_balances SET entries = 9 WHERE account_id = {RECEIVABLE}"),
    ({"carried rows", "bill sums"}, "UPDATE carried_bills SET retained = 1"),
    ({"carried rows", "bill sums"}, "DELETE FROM carried_bills"),
    ({"carried rows"}, "UPDATE carried_bills SET unrefunded = 0"),
    ({"carried rows", "carried refunds"}, "UPDATE carried_refunds SET refunded = 499"),
    ({"carried refunds"}, "UPDATE refunds SET store_id = 'sto_1'"),
    ({"carried rows"}, "UPDATE archived_months SET checksum = 1"),
    ({"carried balances"}, "DELETE FROM settlement_lines WHERE kind = 'payment' AND amount = 1100"),
    ({"carried rows", "settled as marked", "refunds of their payments"}, "DELETE FROM archived_months"),
)


@pytest.mark.parametrize(("rules", "lie"), PLANTED, ids=range(len(PLANTED)))
async def test_a_changed_carried_row_breaks_its_rules(old: OldShop, tmp_path: Path, rules: set[str], lie: str) -> None:
    archive(old, tmp_path)
    async with old.admin.transaction():
        await old.admin.execute("SET LOCAL session_replication_role = replica")
        assert (await old.admin.execute(lie.encode())).rowcount > 0
    assert rules <= (await broken_rules(old)).keys()


@pytest.mark.parametrize("table", ["payments", "ledger_entries"])
async def test_tables_are_dropped_only_if_their_files_can_be_read_back(
    old: OldShop, tmp_path: Path, table: str
) -> None:
    archive(old, tmp_path)
    path = tmp_path / f"{table}.csv.gz"
    good = path.read_bytes()
    for bad in (b"", good[:-9], good[:40] + b"x" + good[41:], gzip.compress(gzip.decompress(good) + b"x\n")):
        path.write_bytes(bad)
        with pytest.raises(FilesDiffer, match="damaged"):
            archive(old, tmp_path, drop=True)
    path.unlink()
    with pytest.raises(FilesDiffer, match="missing"):
        archive(old, tmp_path, drop=True)
    path.write_bytes(good)
    await old.admin.execute(f"ALTER TABLE archive.{table}_{old.month} DISABLE TRIGGER USER".encode())
    column = {"payments": "device_id", "ledger_entries": "account_id"}[table]
    await old.admin.execute(f"UPDATE archive.{table}_{old.month} SET {column} = 'x'".encode())
    with pytest.raises(FilesDiffer, match="differs from the table"):
        archive(old, tmp_path, drop=True)
    assert await rows(old, "SELECT dropped_at FROM archived_months") == [{"dropped_at": None}]


async def test_another_months_files_are_not_taken_for_these(old: OldShop, tmp_path: Path) -> None:
    archive(old, tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"rows": 5', '"rows": 6'))
    with pytest.raises(FilesDiffer, match="is not the one that was recorded"):
        archive(old, tmp_path, drop=True)


async def test_dropped_tables_leave_true_books_and_cannot_be_attached(old: OldShop, tmp_path: Path) -> None:
    archive(old, tmp_path, drop=True)
    archive(old, tmp_path, drop=True)  # changes nothing
    assert await problems(old) == []
    assert await live_payments(old) == 0
    with pytest.raises(WrongMonth, match="were dropped: load its files first"):
        restore(old)
    lines = gzip.decompress((tmp_path / "payments.csv.gz").read_bytes()).decode().splitlines()
    assert len(lines) == 6
    assert any(line.startswith(old.sold) for line in lines)
    assert (tmp_path / "payments.csv.gz").stat().st_mode & 0o777 == 0o600


async def test_the_log_cannot_be_rewritten(old: OldShop, tmp_path: Path) -> None:
    archive(old, tmp_path)
    for change in ("UPDATE archive_log SET by = 'x'", "DELETE FROM archive_log"):
        with pytest.raises(Exception, match="archive_log"):
            await old.admin.execute(change.encode())


async def test_archived_rows_cannot_be_changed_and_no_role_of_the_service_reads_them(
    old: OldShop, tmp_path: Path
) -> None:
    archive(old, tmp_path)
    with pytest.raises(Exception, match="is being archived"):
        await old.admin.execute(f"UPDATE archive.payments_{old.month} SET device_id = 'x'".encode())
    for role in ("mpac_caller", "mpac_accept", "mpac_worker", "mpac_sweep"):
        await old.admin.execute(f"SET ROLE {role}".encode())
        with pytest.raises(Exception, match="permission denied for schema archive"):
            await old.admin.execute(f"SELECT 1 FROM archive.payments_{old.month}".encode())
        await old.admin.execute("RESET ROLE")


async def test_an_operation_on_a_live_month_says_that_it_is_not_archived(old: OldShop, tmp_path: Path) -> None:
    with archiving(old.url, policy=POLICY, by="a test", report=print) as run, pytest.raises(WrongMonth):
        run.drop_month(old.month, tmp_path)
    restore(old)
    assert await live_payments(old) == 5
