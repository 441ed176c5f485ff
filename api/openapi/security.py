"""Declare in the OpenAPI document which tokens each operation accepts, and the lowest role that may call it."""

from typing import Any

from api.openapi.walk import operations
from workflows.devices.client_assertions import TOKEN_PATH

FRAMEWORK_SCHEME = "HTTPBearer"
"""The scheme that FastAPI declares. Its scope is the lowest role (``api.dependencies.at_least``)."""

DEVICE, USER = "deviceToken", "userToken"
SCHEMES: dict[str, dict[str, Any]] = {
    DEVICE: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": f"A terminal's access token, from `POST {TOKEN_PATH}`; see Tokens.",
    },
    USER: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A user's token of the login system, or of `python3 run.py token` for development; see Tokens.",
    },
}


def add_security(document: dict[str, Any]) -> None:
    """Declare the two kinds of token, and for each operation the accepted kinds and the lowest role."""
    document["components"]["securitySchemes"] = SCHEMES
    for _, _, operation in operations(document):
        made = operation.pop("security", [])
        roles = made[0][FRAMEWORK_SCHEME] if made else []
        who: list[dict[str, list[str]]] = [{USER: []}] if roles else [{DEVICE: []}, {USER: []}] if made else []
        operation["security"] = who
        operation["description"] += f"\n\n{_describe_token(bool(made), roles)}"


def _describe_token(needs_token: bool, roles: list[str]) -> str:
    if not needs_token:
        return "**Token:** none."
    return f"**Lowest role:** `{roles[0]}`." if roles else "**Token:** a device's, or a user's of any role."
