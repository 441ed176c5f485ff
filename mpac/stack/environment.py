"""Build the variables of the product's processes for a local stack.

The product is configured by ``MPAC_*`` variables alone, and those that the user has set override ours. The rate limits are
off, because a local stack is for experiments and load: thirty demo terminals of one merchant would soon reach the default
limit of 1,000 requests a minute.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mpac.stack.database_profile import ORDINARY, DatabaseProfile
from mpac.stack.ports import HOST
from mpac.stack.postgres import database_url
from mpac.stack.secrets import Secrets
from mpac.stack.state_folder import Home
from mpac.stack.valkey import broker_url

PREFIX = "MPAC_"
FLOWER_USER = "mpac"
HIDDEN = "***"  # replaces a password
CONTROL_KEY_VARIABLE = "MPAC_SANDBOX_CONTROL_KEY"
RATE_LIMITS_OFF = {
    "MPAC_RATE_LIMIT_PER_MERCHANT": "0",
    "MPAC_RATE_LIMIT_OVERALL": "0",
    "MPAC_RATE_LIMIT_UNKNOWN_PER_ADDRESS": "0",
}
USER_TOKENS = {"MPAC_USER_TOKEN_ISSUER": "mpac-development", "MPAC_USER_TOKEN_AUDIENCE": "mpac-api"}
"""The issuer and audience of the tokens from `mpac token`; a local stack requires them."""


@dataclass(frozen=True, slots=True)
class Urls:
    """The URLs of the services; empty for a service that was not requested."""

    api: str = ""
    flower: str = ""
    sandbox: str = ""
    database: str = ""
    broker: str = ""


def urls_of(
    ports: Mapping[str, int], secrets: Secrets, user: Mapping[str, str], *, profile: DatabaseProfile = ORDINARY
) -> Urls:
    """Return the URLs of the services that we start, and the user's URLs where those replace them."""

    def http(name: str) -> str:
        return f"http://{HOST}:{ports[name]}" if name in ports else ""

    database = broker = ""
    if "postgres" in ports:
        database = database_url(ports["postgres"], secrets["database_password"], database=profile.database)
    if "valkey" in ports:
        broker = broker_url(ports["valkey"], secrets["broker_password"], number=profile.broker_number)
    return Urls(
        api=http("api"),
        flower=http("flower"),
        sandbox=user.get("MPAC_SANDBOX_URL") or http("sandbox"),
        database=user.get("MPAC_DATABASE_URL") or database,
        broker=user.get("MPAC_BROKER_URL") or broker,
    )


def product_environment(home: Home, urls: Urls, secrets: Secrets) -> dict[str, str]:
    """Return our value for every ``MPAC_*`` variable that a local stack needs."""
    located = {
        "MPAC_DATABASE_URL": urls.database,
        "MPAC_BROKER_URL": urls.broker,
        "MPAC_SANDBOX_URL": urls.sandbox,
        "MPAC_PUBLIC_URL": urls.api,
        "MPAC_FLOWER_URL": urls.flower,
    }
    return {
        "MPAC_ENVIRONMENT": "development",
        "MPAC_HOME": str(home.path),
        "MPAC_RENDER_ANSWERS": "true",  # all processes of a stack are of one release
        **{name: url for name, url in located.items() if url},
        "MPAC_SANDBOX_API_KEY": secrets["sandbox_api_key"],
        "MPAC_SANDBOX_WEBHOOK_SECRET": secrets["sandbox_webhook_secret"],
        "MPAC_SECRET_KEY": secrets["secret_key"],
        "MPAC_DEVICE_TOKEN_KEY_FILE": str(secrets.device_token_key_file),
        "MPAC_USER_JWKS_FILE": str(secrets.user_jwks_file),
        **USER_TOKENS,
        "MPAC_FLOWER_USER": FLOWER_USER,
        "MPAC_FLOWER_PASSWORD": secrets["flower_password"],
    }


def with_users_own(ours: Mapping[str, str], user: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Override ``ours`` by every ``MPAC_*`` variable of the user; MPAC_HOME stays the folder in use."""
    own = {name: value for name, value in user.items() if name.startswith(PREFIX) and name != "MPAC_HOME"}
    return {**ours, **own}


def without_password(url: str) -> str:
    """Return the URL with its password hidden."""
    return re.sub(r"(://[^:/@]*:).*@", rf"\1{HIDDEN}@", url)
