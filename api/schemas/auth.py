"""Bodies of the token route: the OAuth 2 form with a signed assertion, and the token."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.schemas.base import Body, Id

MAX_ASSERTION_LENGTH = 4_000  # a terminal's assertion has about 450 characters


class TokenForm(Body):
    """The form of a device's token request."""

    grant_type: Literal["client_credentials"]
    client_assertion_type: Literal["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
    client_assertion: Annotated[
        str, Field(min_length=1, max_length=MAX_ASSERTION_LENGTH, description="A JWT signed with the device's key")
    ]
    client_id: Annotated[Id | None, Field(description="Optional: the assertion names it")] = None


class TokenOut(BaseModel):
    """An access token and its lifetime."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(ge=0, le=2**31 - 1, description="Seconds until it expires")]
