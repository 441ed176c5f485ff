"""Bodies of requests and responses about the providers of a store. Responses never contain credentials."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field
from typing_extensions import TypeAliasType

from api.schemas.base import Body, Printable, unset
from api.schemas.integer_types import Cursor
from api.schemas.patterns import NAME_PATTERN
from api.schemas.provider_names import StoreProvider
from workflows.tenants.store_providers import ProviderRequest

MAX_CREDENTIALS = 20
MAX_PRIORITY = 1_000


def _check_distinct(value: list[str]) -> list[str]:
    if len(set(value)) != len(value):
        raise ValueError("Must name each method once")
    return value


# Without emoney, which the terminal's own application charges without a provider. The type has a name in the OpenAPI document,
# because openapi-generator's Java code does not compile if an array contains an unnamed enumeration.
ProviderMethod = TypeAliasType("ProviderMethod", Literal["card", "qr"])
Methods = Annotated[
    list[ProviderMethod],
    AfterValidator(_check_distinct),
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
]
Priority = Annotated[int, Field(ge=1, le=MAX_PRIORITY, description="The provider with the lowest number is used first")]
Secret = Annotated[Printable, Field(max_length=4_000)]
Credentials = Annotated[
    dict[Annotated[str, Field(pattern=NAME_PATTERN)], Secret],
    Field(
        max_length=MAX_CREDENTIALS,
        description="From the provider; never shown again",
        json_schema_extra={"additionalProperties": False},
    ),
]


class StoreProviderIn(Body):
    """A provider to add to a store."""

    provider: StoreProvider
    methods: Methods
    priority: Priority = 1
    credentials: Credentials = Field(default_factory=dict, repr=False)
    enabled: bool = True

    def to_request(self) -> ProviderRequest:
        """Convert to the use-case's ``ProviderRequest``."""
        return ProviderRequest(self.provider, list(self.methods), self.priority, self.enabled, self.credentials)


class StoreProviderChange(Body):
    """The fields to change; omitted fields are not changed. New credentials replace all earlier ones."""

    methods: Methods = Field(default_factory=unset)
    priority: Priority = Field(default_factory=unset)
    credentials: Credentials = Field(default_factory=unset, repr=False)
    enabled: bool = Field(default_factory=unset)


class StoreProviderOut(BaseModel):
    """A provider of a store."""

    id: str
    store_id: str
    merchant_id: str
    provider: str
    methods: list[ProviderMethod]
    priority: Priority
    enabled: bool
    credentials_set: Annotated[
        list[str],
        Field(
            description="The names of the credentials, without their values. Credentials that cannot be decrypted, because "
            "the installation's secret key was changed, count as not set: send them again"
        ),
    ]
    created_at: datetime
    updated_at: datetime


class StoreProvidersOut(BaseModel):
    """A page of a store's providers, newest first."""

    data: list[StoreProviderOut]
    next_cursor: Cursor
