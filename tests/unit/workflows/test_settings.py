"""Settings are read from ``MPAC_…`` variables once, are immutable, and never show secrets."""

from ssl import CERT_NONE, CERT_REQUIRED

import pytest
from kombu.connection import Connection
from pydantic import ValidationError
from redis import Redis

from workflows.settings import Settings, load_settings

NEEDED = {
    "MPAC_DATABASE_URL": "postgresql://u:hidden-1@127.0.0.1/d",
    "MPAC_BROKER_URL": "redis://:hidden-2@127.0.0.1/0",
    "MPAC_SECRET_KEY": "hidden-3",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize("missing", NEEDED)
def test_a_missing_secret_stops_the_process_and_is_named(environment: pytest.MonkeyPatch, missing: str) -> None:
    environment.delenv(missing)
    with pytest.raises(ValidationError, match=missing.removeprefix("MPAC_").lower()):
        load_settings()


def test_settings_do_not_show_secrets(environment: pytest.MonkeyPatch) -> None:
    shown = f"{load_settings()!r} {load_settings()!s} {load_settings().model_dump_json()}"
    assert "hidden" not in shown


def test_an_error_about_another_setting_does_not_show_secrets(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MPAC_LEASE_SECONDS", "-1")
    with pytest.raises(ValidationError) as raised:
        load_settings()
    assert "hidden" not in str(raised.value)


def test_settings_cannot_be_changed_afterwards(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(load_settings(), "lease_seconds", 1)  # noqa: B010 - the type checker refuses the plain assignment too


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MPAC_LEASE_SECONDS", "0"),
        ("MPAC_DOUBT_SCHEDULE_SCALE", "0"),
        ("MPAC_DOUBT_SCHEDULE_SCALE", "1.5"),
        ("MPAC_TIMETABLE_SCALE", "0"),
        ("MPAC_TIMETABLE_SCALE", "1.5"),
        ("MPAC_MAX_WAIT_SECONDS", "61"),
        ("MPAC_LOG_LEVEL", "loud"),
        ("MPAC_RATE_LIMIT_PER_MERCHANT", "-1"),
        ("MPAC_LEASE_SECONDS", "soon"),
        ("MPAC_BROKER_URL", "unix:///run/valkey.sock"),
        ("MPAC_BROKER_URL", "rediss://:hidden-2@broker:6379/0"),
        ("MPAC_BROKER_URL", "rediss://:hidden-2@broker:6379/0?ssl_cert_reqs=CERT_REQUIRED"),
    ],
)
def test_an_invalid_setting_stops_the_process(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(ValidationError):
        load_settings()


@pytest.mark.parametrize(
    "query", ["?ssl_cert_reqs=required", "?ssl_ca_certs=/ca.pem&ssl_cert_reqs=none&ssl_keyfile=/k"]
)
def test_a_broker_behind_tls_says_whether_its_certificate_is_checked(
    environment: pytest.MonkeyPatch, query: str
) -> None:
    """Both clients must read the address alike, the API's (redis) and the workers' (kombu)."""
    address = f"rediss://:hidden-2@broker:6379/0{query}"
    environment.setenv("MPAC_BROKER_URL", address)
    assert load_settings().broker_url.get_secret_value() == address
    api = Redis.from_url(address).connection_pool.connection_kwargs["ssl_cert_reqs"]
    workers = (Connection(address).ssl or {})["ssl_cert_reqs"]
    assert {"required": CERT_REQUIRED, "none": CERT_NONE}[api] == workers


def test_the_defaults_are_those_of_the_platform() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert defaults["rate_limit_per_merchant"] == 1_000
    assert defaults["rate_limit_overall"] == 10_000
    assert defaults["max_body_bytes"] == 64 * 1_024
    assert defaults["max_wait_seconds"] == 25
    assert defaults["device_token_seconds"] == 120
    assert defaults["review_after_seconds"] == 24 * 3_600


def test_by_default_a_lease_outlasts_a_step_and_a_message_outlasts_a_lease() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    step = defaults["sandbox_timeout_seconds"] + defaults["statement_timeout_ms"] / 1_000
    assert step < defaults["lease_seconds"] < defaults["visibility_timeout_seconds"]


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
