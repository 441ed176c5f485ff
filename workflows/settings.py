"""Settings: one frozen object, read from the environment (``MPAC_…``) once in each composition root.

Nothing in the domain reads the environment. No secret has a default: a process without its secret says so and stops.
``docs/configuration.md`` is generated from the fields below.
"""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0)]

ADDRESSES = {
    "database_url": (re.compile(r"postgres(ql)?(\+\w+)?://\S+"), "postgresql://user:password@host:port/name"),
    "broker_url": (re.compile(r"(rediss?|unix)://\S+"), "redis://:password@host:port/0"),
}
"""What the two addresses look like, and how to write them."""

PUBLIC_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


class Settings(BaseSettings):
    """Everything that may differ between two installations."""

    model_config = SettingsConfigDict(env_prefix="MPAC_", frozen=True, extra="ignore")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least severe line to log.")

    database_url: SecretStr = Field(description="PostgreSQL 15 or newer: `postgresql://user:password@host:port/name`.")
    database_pool_size: int = Field(10, ge=1, le=100, description="Connections per role and process.")
    long_calls: int = Field(
        4,
        ge=1,
        le=100,
        description="Connections per role and process for calls that may take long (exports, reports, statements, closes, "
        "reconciliation); payments never wait for one of them.",
    )
    statement_timeout_ms: int = Field(10_000, ge=100, description="The longest a single statement may run.")
    lock_timeout_ms: int = Field(3_000, ge=10, description="The longest a statement may wait for a row.")
    broker_url: SecretStr = Field(description="Valkey or Redis 6.2 or newer: `redis://:password@host:port/0`.")
    visibility_timeout_seconds: int = Field(
        120, ge=30, description="When the broker hands out an unacknowledged message again; longer than any lease."
    )

    public_url: str | None = Field(
        None,
        description="The address at which terminals reach the API, for example `https://pay.example`: the audience of their "
        "assertions. The API does not start without it.",
    )
    flower_url: str | None = Field(
        None, description="Where people reach Flower, for a link on the page at `/`; unset, it is not mentioned there."
    )
    secret_key: SecretStr = Field(description="Random text; keys the hashes of request bodies and activation codes.")
    device_token_key_file: Path | None = Field(
        None, description="PEM file of the EC P-256 key that signs device tokens."
    )
    device_token_seconds: int = Field(120, ge=10, le=3600, description="Life of a device's access token.")
    device_clock_tolerance_seconds: int = Field(
        60,
        ge=0,
        le=300,
        description="How far a device's clock may be ahead of or behind ours when it asks for a token.",
    )
    user_jwks_file: Path | None = Field(
        None, description="JWKS file with the keys that user tokens are checked against."
    )
    user_jwks_url: str | None = Field(None, description="JWKS URL with those keys, fetched again every five minutes.")

    user_token_issuer: str | None = Field(
        None, description="The `iss` of users' tokens. Required if keys are configured."
    )
    user_token_audience: str | None = Field(
        None, description="The `aud` that users' tokens must name. Required if keys are configured."
    )

    tax_rounding: Literal["half_up", "down", "up"] = Field(
        "half_up", description="Which way a fraction of a minor unit of tax goes, once per tax rate and order."
    )
    rate_limit_per_merchant: int = Field(1_000, ge=0, description="Requests per minute and merchant; 0 is off.")
    rate_limit_overall: int = Field(10_000, ge=0, description="Requests per minute over all; 0 is off.")
    rate_limit_unknown_per_address: int = Field(
        600,
        ge=0,
        description="Refused attempts per minute, process and address (IPv6: /64) of unknown callers; 0 is off.",
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses and networks whose `X-Forwarded-For` is used, for example `10.0.0.0/8, ::1`. For all others "
        "the address of the connection counts.",
    )
    max_requests_in_flight: int = Field(
        2_000, ge=1, description="Requests one API process works on before it answers 503."
    )
    max_waiting_requests: int = Field(
        20_000, ge=1, description="Requests one API process lets wait for a payment to move."
    )
    max_body_bytes: int = Field(65_536, ge=1_024, description="The largest request body.")
    max_wait_seconds: int = Field(25, ge=1, le=60, description="The longest a `?wait=` may hang.")

    nudge_spacing_ms: int = Field(
        20, ge=0, description="Least time between two nudges of one process: they carry more ids each."
    )
    lease_seconds: Seconds = Field(30, description="How long a worker owns a payment it claimed; longer than any step.")
    nudge_grace_seconds: Seconds = Field(
        5, description="How long a recorded payment waits for its nudge before the sweep sends another."
    )
    calls_in_flight: int = Field(
        512,
        ge=1,
        description="Provider calls one worker process has open at once, per provider, for payments and refunds each.",
    )
    payments_in_hand: int = Field(
        2_000, ge=1, description="Payments without a provider call that one worker process holds claimed at once."
    )
    soft_shutdown_seconds: Seconds = Field(
        15, description="How long a worker that was told to stop lets its calls end."
    )
    review_after_seconds: Seconds = Field(
        86_400, description="How long an outcome may be unknown before a person is asked."
    )
    doubt_schedule_scale: float = Field(
        1.0, gt=0, le=1, description="Shortens the schedule of questions about an unknown outcome, for tests and demos."
    )

    timetable_scale: float = Field(
        1.0, gt=0, le=1, description="Shortens the pauses of beat's slower entries, for tests and demos."
    )

    silence_seconds: Seconds = Field(
        60,
        description="After how long without a consumed canary a queue, a worker or beat is reported as silent. Canaries are "
        "sent four times as often.",
    )

    sandbox_url: str | None = Field(None, description="Where the sandbox provider answers; unset, it does not exist.")
    sandbox_api_key: SecretStr | None = Field(None, description="The key it was given for us.")
    sandbox_timeout_seconds: Seconds = Field(10, description="How long one call to it may take.")
    sandbox_max_processing_seconds: Seconds = Field(
        60, description="After how long the sandbox provider can no longer be working on a call it did not answer."
    )

    statement_sla_hours: float = Field(
        24, ge=0, description="How long after a payment its provider's statement may take to tell of it."
    )
    statement_sla_hours_by_provider: dict[str, float] = Field(
        default_factory=dict, description='The same for single providers, for example `{"sandbox": 1}`.'
    )
    statement_date_tolerance_minutes: float = Field(
        60, ge=0, description="How far two clocks may lie apart around midnight before a day differs."
    )
    max_statement_bytes: int = Field(268_435_456, ge=1_024, description="The largest statement that may be uploaded.")

    @field_validator("database_url", "broker_url")
    @classmethod
    def _is_an_address(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        pattern, example = ADDRESSES[str(info.field_name)]
        if not pattern.fullmatch(value.get_secret_value()):
            raise ValueError(f"Write it like {example}")
        return value

    @field_validator("public_url", "flower_url")
    @classmethod
    def _is_public(cls, value: str | None) -> str | None:
        if not value:
            return None
        if not PUBLIC_URL.fullmatch(value):
            raise ValueError("Write it like https://pay.example or http://127.0.0.1:8800")
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        try:
            [ip_network(one, strict=False) for one in _listed(value)]
        except ValueError as error:
            raise ValueError("Write addresses and networks with commas between them, like 10.0.0.0/8, ::1") from error
        return value

    @property
    def proxies(self) -> list[str]:
        """The addresses and networks of ``trusted_proxies``."""
        return _listed(self.trusted_proxies)

    def statement_sla(self, provider: str) -> float:
        """Hours after a payment within which ``provider`` reports it."""
        return self.statement_sla_hours_by_provider.get(provider, self.statement_sla_hours)


def _listed(value: str) -> list[str]:
    return [one.strip() for one in value.split(",") if one.strip()]


def load_settings() -> Settings:
    """The settings of this process. Raises ``pydantic.ValidationError`` where one is missing or makes no sense."""
    return Settings()


def settings_or_exit() -> Settings:
    """The settings, for a process that can do nothing without: it ends with a sentence where one is wrong."""
    try:
        return load_settings()
    except ValidationError as error:
        raise SystemExit(what_is_wrong(error)) from error


def what_is_wrong(error: ValidationError) -> str:
    """In a sentence, which variables are missing or make no sense. Values are not told: some are secrets."""
    found = error.errors(include_input=False, include_url=False)
    said = [f"MPAC_{str(one['loc'][0]).upper()} ({str(one['msg']).removeprefix('Value error, ')})" for one in found]
    return f"Set these variables right (docs/configuration.md has a table of them): {', '.join(said)}."
