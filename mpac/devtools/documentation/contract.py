"""Render the contract files: the OpenAPI document, and a JSON schema for each resource.

Both are rendered from the application, so they describe what it does. Each schema is taken from the document, with every
schema that it refers to; the tests validate answers against them. The files are the same with every supported Python version.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from api.app import build_app
from api.openapi.walk import objects
from api.routes.documentation import document_of
from workflows.settings import Settings

FOLDER = "docs/contract"
RESOURCES: Mapping[str, str] = {
    "bill": "BillOut",
    "break": "BreakOut",
    "dead_letter": "DeadLetterOut",
    "error": "ErrorOut",
    "ledger_account": "AccountOut",
    "ledger_journal": "JournalOut",
    "merchant": "MerchantOut",
    "order": "OrderOut",
    "payment": "PaymentOut",
    "payment_events": "EventsOut",
    "reconciliation_run": "RunOut",
    "refund": "RefundOut",
    "settlement": "SettlementOut",
    "settlement_line": "LineOut",
    "settlement_override": "OverrideOut",
    "statement": "StatementOut",
    "statement_policy": "PolicyOut",
    "store": "StoreOut",
    "store_provider": "StoreProviderOut",
    "terminal": "TerminalOut",
}
"""Resource → the schema of its answers in the OpenAPI document."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"
COMPONENTS = "#/components/schemas/"
REQUIRED_SETTINGS: Mapping[str, str] = {
    "database_url": "postgresql://none@127.0.0.1:1/none",
    "broker_url": "redis://127.0.0.1:1/0",
    "secret_key": "of the documentation",
}
"""Settings without a default. Rendering connects to nothing."""


class DefaultSettings(Settings):
    """Settings with their default values, so that the files do not depend on the environment of the process."""

    @classmethod
    def settings_customise_sources(  # noqa: PLR0917 - as in the base class
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base class names these
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the constructor's arguments only, not from the environment or files."""
        return (init_settings,)


@cache
def published_document() -> dict[str, Any]:
    """Return the OpenAPI document of an installation with default settings.

    The document is shared: do not change it.
    """
    settings = DefaultSettings.model_validate(REQUIRED_SETTINGS)
    return document_of(build_app(settings), settings)


def render_openapi() -> str:
    """Return ``openapi.json``."""
    return _as_json(published_document())


def schema_of(resource: str) -> dict[str, Any]:
    """Return the JSON schema of a resource, with everything that it refers to under ``$defs``."""
    schemas = published_document()["components"]["schemas"]
    name = RESOURCES[resource]
    found: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        used = waiting.pop()
        if used not in found:
            found[used] = json.loads(json.dumps(schemas[used]).replace(f'"{COMPONENTS}', '"#/$defs/'))
            references = [part["$ref"] for part in objects(schemas[used]) if "$ref" in part]
            waiting += [reference.removeprefix(COMPONENTS) for reference in references]
    own = found.pop(name)
    return {"$schema": DIALECT, "title": resource, **own, **({"$defs": dict(sorted(found.items()))} if found else {})}


def render_schemas() -> dict[str, Callable[[], str]]:
    """Return, by the path of each schema file, the function that renders it."""
    return {f"{FOLDER}/{name}.schema.json": _renderer(name) for name in RESOURCES}


def _renderer(resource: str) -> Callable[[], str]:
    return lambda: _as_json(schema_of(resource))


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
