"""Add the schemas of request bodies that FastAPI does not know, because their routes read the body themselves."""

from typing import Any

from pydantic import BaseModel

from api.schemas.statements import StatementIn

READ_BY_ROUTES: tuple[type[BaseModel], ...] = (StatementIn,)
RENAMED = {"StatementMapping": "StatementMappingIn"}
"""Schema of a request body → its name in the document, if a response schema with other required fields has its name."""

WHERE = "#/components/schemas/"


def add_schemas(document: dict[str, Any]) -> None:
    """Add the schemas of ``READ_BY_ROUTES`` and of all models that they refer to."""
    schemas = document["components"]["schemas"]
    for model in READ_BY_ROUTES:
        made = model.model_json_schema(mode="validation", ref_template="{model}")
        inner = made.pop("$defs", {})
        for name, schema in {model.__name__: made, **inner}.items():
            _rewrite_references(schema)
            schemas.setdefault(RENAMED.get(name, name), schema)


def _rewrite_references(node: Any) -> None:
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _rewrite_references(child)
    name = node.get("$ref") if isinstance(node, dict) else None
    if isinstance(name, str):
        node["$ref"] = WHERE + RENAMED.get(name, name)
