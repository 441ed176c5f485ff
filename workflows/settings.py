"""Read the settings, one frozen object, from the environment (``MPAC_…``), once in each composition root.

Nothing else in the domain reads the environment. No secret has a default, so a process without its secret exits with an error.
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
    "broker_url": (
        re.compile(r"redis://\S+|rediss://[^\s?]+\?(\S*&)?ssl_cert_reqs=(required|none)(&\S*)?"),
        "redis://:password@host:port/0 or rediss://:password@host:port/0?ssl_cert_reqs=required (or none)",
    ),
}
"""Setting → the pattern that its address must match, and an example for the error message.

With TLS the address must say whether the broker's certificate is checked, because the clients of the API and of the workers
have opposite defaults, and spell other values differently.
"""

PUBLIC_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


class Settings(BaseSettings):
    """The settings of an installation."""

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
    broker_url: SecretStr = Field(
        description="Valkey or Redis 6.2 or newer: `redis://:password@host:port/0`, or with TLS "
        "`rediss://:password@host:port/0?ssl_cert_reqs=required` (or `none`)."
    )
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
    secret_key: SecretStr = Field(
        description="Random text; keys the hashes of request bodies and activation codes, and seals providers' credentials."
    )
    device_token_key_file: Path | None = Field(
        None, description="PEM file of the EC P-256 key that signs device tokens."
    )
    device_token_seconds: int = Field(120, ge=10, le=3600, description="Life of a device's access token.")
    device_clock_tolerance_seconds: int = Field(
        60,
        ge=0,
        le=300,
        description="How far a device's clock may be ahead of or behind ours when it requests a token.",
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
        "half_up", description="How a fraction of a minor unit of tax is rounded, once per tax rate and order."
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
        2_000, ge=1, description="Requests that one API process handles at once; it answers further ones with 503."
    )
    max_waiting_requests: int = Field(
        20_000, ge=1, description="Requests with `?wait=` that one API process lets wait at once."
    )
    max_body_bytes: int = Field(65_536, ge=1_024, description="The largest request body.")
    max_wait_seconds: int = Field(25, ge=1, le=60, description="The longest that a request with `?wait=` may wait.")

    render_answers: bool = Field(
        False,
        description="Store how to render the answer to a payment again beside its key, instead of its 1.1 KB. Set it when no "
        "process of a release before 0.2.0 runs any more, or in a new installation.",
    )
    nudge_spacing_ms: int = Field(
        20,
        ge=0,
        description="The pause between two nudges of one process at 900 ids per second or while four wait for a worker: less "
        "below, none at 200 ids per second.",
    )
    lease_seconds: Seconds = Field(30, description="How long a worker owns a payment it claimed; longer than any call.")
    nudge_grace_seconds: Seconds = Field(
        5, description="How long a recorded payment waits for its nudge before the sweep sends another."
    )
    calls_in_flight: int = Field(
        512,
        ge=1,
        description="Provider calls one worker process has open at once, per provider, for payments and refunds each.",
    )
    payments_in_hand: int = Field(
        2_000, ge=1, description="Payments without a provider call that one worker process claims at once."
    )
    soft_shutdown_seconds: Seconds = Field(
        15, description="How long a worker that is asked to stop waits for its calls to end."
    )
    review_after_seconds: Seconds = Field(
        86_400, description="How long an outcome may be unknown before a person has to review it."
    )
    archive_after_months: int = Field(
        13,
        ge=1,
        le=1_200,
        description="When `mpac archive` may archive a month, in months after its end: later than any provider allows refunds "
        "(365 days).",
    )
    doubt_schedule_scale: float = Field(
        1.0, gt=0, le=1, description="Shortens the schedule of inquiries about an unknown outcome, for tests and demos."
    )

    timetable_scale: float = Field(
        1.0, gt=0, le=1, description="Shortens the pauses of beat's slower entries, for tests and demos."
    )

    silence_seconds: Seconds = Field(
        60,
        description="The time without a consumed canary after which a queue, a worker or beat is reported as silent. Four "
        "canaries are sent in that time.",
    )

    sandbox_url: str | None = Field(
        None, description="The address of the sandbox provider. Without it the provider is not available."
    )
    sandbox_api_key: SecretStr | None = Field(None, description="Our key at the sandbox provider.")
    sandbox_timeout_seconds: Seconds = Field(
        10, description="The longest that one call to the sandbox provider may take."
    )
    sandbox_max_processing_seconds: Seconds = Field(
        60, description="The time after which the sandbox provider no longer works on a call that it did not answer."
    )

    statement_sla_hours: float = Field(
        24, ge=0, description="How long after a payment its provider's statement may first list it."
    )
    statement_sla_hours_by_provider: dict[str, float] = Field(
        default_factory=dict, description='The same for single providers, for example `{"sandbox": 1}`.'
    )
    statement_date_tolerance_minutes: float = Field(
        60, ge=0, description="How far two clocks may differ around midnight before a date counts as different."
    )
    max_statement_bytes: int = Field(268_435_456, ge=1_024, description="The largest statement that may be uploaded.")

    @field_validator("database_url", "broker_url")
    @classmethod
    def _check_address(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        pattern, example = ADDRESSES[str(info.field_name)]
        if not pattern.fullmatch(value.get_secret_value()):
            raise ValueError(f"Write it like {example}")
        return value

    @field_validator("public_url", "flower_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if not value:
            return None
        if not PUBLIC_URL.fullmatch(value):
            raise ValueError("Write it like https://pay.example or http://127.0.0.1:8800")
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        try:
            [ip_network(network, strict=False) for network in _split_list(value)]
        except ValueError as error:
            raise ValueError("Write addresses and networks with commas between them, like 10.0.0.0/8, ::1") from error
        return value

    @property
    def proxies(self) -> list[str]:
        """The addresses and networks in ``trusted_proxies``, as a list."""
        return _split_list(self.trusted_proxies)

    def statement_sla(self, provider: str) -> float:
        """Return the hours within which ``provider`` must list a payment on its statement."""
        return self.statement_sla_hours_by_provider.get(provider, self.statement_sla_hours)


def _split_list(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def load_settings() -> Settings:
    """Return the settings of this process.

    Raises ``pydantic.ValidationError`` if a setting is missing or invalid.
    """
    return Settings()


def settings_or_exit() -> Settings:
    """Return the settings, or exit with a message that names the missing and invalid settings."""
    try:
        return load_settings()
    except ValidationError as error:
        raise SystemExit(describe_errors(error)) from error


def describe_errors(error: ValidationError) -> str:
    """Return a message that names the missing and invalid variables.

    It has no values, because some are secrets.
    """
    found = error.errors(include_input=False, include_url=False)
    messages = [
        f"MPAC_{str(finding['loc'][0]).upper()} ({str(finding['msg']).removeprefix('Value error, ')})"
        for finding in found
    ]
    return f"Correct these environment variables (docs/configuration.md lists all of them): {', '.join(messages)}."
