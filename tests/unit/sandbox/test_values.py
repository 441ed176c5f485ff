"""Test exact values of fees, timestamps, signatures and settings."""

import base64
import hashlib
import hmac
from datetime import date
from fractions import Fraction
from math import floor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import Refused
from sandbox.fees import charge_fee, refund_fee
from sandbox.settings import read_settings
from sandbox.signature import sign, signing_key
from sandbox.timestamps import from_text, payout_date, to_text


@pytest.mark.parametrize(("amount", "fee"), [(1, 0), (15, 0), (16, 1), (1_000, 32), (1_250, 41), (10_000, 324)])
def test_a_charge_costs_3_24_percent_half_up(amount: int, fee: int) -> None:
    assert charge_fee(amount) == fee  # 1,250 is exactly half-way: 40.5


@given(st.integers(min_value=1, max_value=10**12))
def test_the_fee_agrees_with_exact_arithmetic(amount: int) -> None:
    assert charge_fee(amount) == floor(Fraction(amount) * Fraction(324, 10_000) + Fraction(1, 2))


def test_a_refund_costs_nothing() -> None:
    assert refund_fee(1_000) == 0


@given(st.integers(min_value=0, max_value=4_000_000_000_000_000))
def test_a_timestamp_survives_a_round_trip_through_text(instant: int) -> None:
    assert from_text(to_text(instant), name="at") == instant


@pytest.mark.parametrize(
    "text",
    ["2026-01-01T00:00:00Z", "2026-01-01T09:00:00+09:00", "2026-01-01T09:00:00 09:00", "2025-12-31T19:00:00-05:00"],
)
def test_an_offset_whose_plus_became_a_space_is_parsed(text: str) -> None:
    assert to_text(from_text(text, name="from")) == "2026-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z"])
def test_an_invalid_timestamp_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="from"):
        from_text(text, name="from")


def test_payout_is_the_second_japanese_day_after() -> None:
    assert payout_date(from_text("2026-02-26T14:59:59Z", name="at")) == date(2026, 2, 28)
    assert payout_date(from_text("2026-02-26T15:00:00Z", name="at")) == date(2026, 3, 1)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # the example in the tests of the specification's libraries
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, b'{"test": 2432232314}', event_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_webhook_secret_without_the_prefix_is_used_as_bytes() -> None:
    expected = hmac.new(b"geheim", b"evt_1.5.{}", hashlib.sha256).digest()
    assert (
        sign(signing_key("geheim"), b"{}", event_id="evt_1", timestamp=5) == f"v1,{base64.b64encode(expected).decode()}"
    )


def test_a_broken_secret_stops_the_start() -> None:
    with pytest.raises(ValueError, match="Base64"):
        signing_key("whsec_%%%")


def test_settings_have_defaults_for_a_bare_start() -> None:
    settings = read_settings(["--store", "x"], {})
    assert (settings.host, settings.port, settings.store) == ("127.0.0.1", 9100, Path("x"))
    assert (settings.min_latency_ms, settings.max_latency_ms) == (50, 50)
    assert (settings.api_key, settings.webhook_url, settings.webhook_secret) == ("", "", "")


def test_a_higher_minimum_raises_the_maximum_with_it() -> None:
    settings = read_settings(["--store", "x"], {"MPAC_SANDBOX_MIN_LATENCY_MS": "80"})
    assert (settings.min_latency_ms, settings.max_latency_ms) == (80, 80)


@pytest.mark.parametrize(
    "environment",
    [
        {"MPAC_SANDBOX_MIN_LATENCY_MS": "fast"},
        {"MPAC_SANDBOX_MIN_LATENCY_MS": "-1"},
        {"MPAC_SANDBOX_MIN_LATENCY_MS": "9", "MPAC_SANDBOX_MAX_LATENCY_MS": "8"},
    ],
)
def test_invalid_latencies_stop_the_start(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--store", "x"], environment)
    assert "latenc" in capsys.readouterr().err
