"""Ids have a type prefix and sort by creation time; the clock is in UTC and can be frozen."""

from datetime import UTC, datetime

import pytest
from freezegun import freeze_time

from workflows.clock import now
from workflows.ids import PREFIXES, WELL_FORMED, new_id


@pytest.mark.parametrize("entity", PREFIXES)
def test_an_id_has_a_type_prefix_and_is_safe_in_a_url_path(entity: str) -> None:
    made = new_id(entity)
    prefix, _, rest = made.partition("_")
    assert prefix == PREFIXES[entity]
    assert len(rest) == 32
    assert WELL_FORMED.fullmatch(made)


def test_id_prefixes_are_unique() -> None:
    assert len(set(PREFIXES.values())) == len(PREFIXES)


def test_ids_sort_by_creation_time() -> None:
    made = [new_id("payment") for _ in range(1_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_an_id_is_a_uuid_of_version_7() -> None:
    assert new_id("payment").partition("_")[2][12] == "7"


def test_the_clock_is_in_utc_and_can_be_frozen() -> None:
    assert now().tzinfo is UTC
    with freeze_time("2026-03-29T01:30:00Z"):
        assert now() == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
