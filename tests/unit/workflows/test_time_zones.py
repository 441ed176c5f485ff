"""Time zones come from the pinned package, regardless of the host's files."""

import zoneinfo
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from workflows.time_zones import NOT_OFFERED, offered_zones, sql_zone, zone

NEAR = datetime(2026, 11, 30, tzinfo=UTC)
NO_ZONES = ["localtime", "Factory", "posixrules", "posix/Asia/Tokyo", "right/Asia/Tokyo", "asia/tokyo", "ASIA/TOKYO",
            "../zones", "Asia", "Asia/", "/Asia/Tokyo", "Asia/../Asia/Tokyo", "leapseconds", "tzdata.zi", "", " ", "UTC+9",
            "JST-9", "+09:00", "Mars/Olympus", "zone.tab", "__init__.py", "Asia/Tokyo\n", "Asia/Tokyo\x00"]  # fmt: skip


@pytest.mark.parametrize("name", NO_ZONES)
def test_zones_that_are_not_locations_are_not_offered(name: str) -> None:
    assert name not in offered_zones()


def test_every_offered_zone_can_be_computed_with() -> None:
    assert len(offered_zones()) > 400
    assert {"Asia/Tokyo", "Europe/Belgrade", "UTC", "America/Argentina/ComodRivadavia"} < offered_zones()
    for name in offered_zones():
        assert NEAR.astimezone(zone(name)).utcoffset() is not None
        assert sql_zone(name, near=NEAR)


def test_zone_files_of_the_host_are_not_used(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The package's Asia/Tokyo is used on a host whose Tokyo file contains the rules of New York."""
    (tmp_path / "Asia").mkdir()
    (tmp_path / "Asia" / "Tokyo").write_bytes(files("tzdata").joinpath("zoneinfo/America/New_York").read_bytes())
    zoneinfo.reset_tzpath(to=[tmp_path])
    request.addfinalizer(zoneinfo.reset_tzpath)
    request.addfinalizer(zoneinfo.ZoneInfo.clear_cache)
    zoneinfo.ZoneInfo.clear_cache()
    assert NEAR.astimezone(zoneinfo.ZoneInfo("Asia/Tokyo")).utcoffset() == timedelta(hours=-5)
    zone.cache_clear()
    assert NEAR.astimezone(zone("Asia/Tokyo")).utcoffset() == timedelta(hours=9)


def test_names_that_are_no_longer_offered_are_read_as_utc() -> None:
    for name in ("localtime", "Factory"):
        assert NEAR.astimezone(zone(name)).utcoffset() == timedelta(0)
        assert sql_zone(name, near=NEAR).endswith("0")
    with pytest.raises(LookupError):
        zone("Mars/Olympus")
    assert sql_zone("Mars/Olympus", near=NEAR) == "UTC0"


@pytest.mark.parametrize(
    ("name", "near", "expected"),
    [
        ("Asia/Tokyo", NEAR, "JST-9"),
        ("Europe/Berlin", NEAR, "CET-1CEST,M3.5.0,M10.5.0/3"),
        ("America/Nuuk", NEAR, "<-02>2<-01>,M3.5.0/-1,M10.5.0/0"),
        ("Asia/Kolkata", NEAR, "IST-5:30"),
        ("Asia/Gaza", NEAR, "<LMT>-2:00"),  # its rules follow the lunar calendar until 2086
        ("America/St_Johns", datetime(1960, 1, 1, tzinfo=UTC), "<LMT>+3:30"),
    ],
)
def test_postgresql_gets_zone_rules_instead_of_names(name: str, near: datetime, expected: str) -> None:
    assert sql_zone(name, near=near) == expected


def test_excluded_zones_are_not_offered() -> None:
    assert not NOT_OFFERED & offered_zones()


def test_no_other_module_reads_zone_files() -> None:
    root = Path(__file__).parents[3]
    modules = [
        path for package in ("api", "beat", "mpac", "workers", "workflows") for path in (root / package).rglob("*.py")
    ]
    assert len(modules) > 300
    assert [path.name for path in modules if "zoneinfo" in path.read_text()] == ["time_zones.py"]
