"""The JSON schemas of the contract are complete, valid and independent of the environment that renders them."""

import json
import os
import subprocess
import sys
from typing import Any

import jsonschema_rs
import pytest

from mpac.devtools.documentation.contract import FOLDER, RESOURCES, published_document, render_openapi
from mpac.stack.state_folder import ROOT
from tests.contract_schemas import fields, schema


def listed_schemas(document: dict[str, Any]) -> set[str]:
    """Return the schemas of the items in the API's lists."""
    schemas = document["components"]["schemas"]
    data = [one["properties"]["data"] for one in schemas.values() if "data" in one.get("properties", {})]
    return {each["items"]["$ref"].rpartition("/")[2] for each in data if "$ref" in each.get("items", {})}


def test_every_resource_of_a_list_has_a_schema_file() -> None:
    listed = listed_schemas(published_document())
    assert len(listed) > 10
    assert listed <= set(RESOURCES.values())


def test_no_schema_file_is_left_for_a_removed_resource() -> None:
    assert {file.name for file in (ROOT / FOLDER).glob("*.schema.json")} == {
        f"{name}.schema.json" for name in RESOURCES
    }


@pytest.mark.parametrize("resource", RESOURCES)
def test_schema_file_is_valid_and_stands_alone(resource: str) -> None:
    found = schema(resource)
    jsonschema_rs.Draft202012Validator(found)  # raises if a reference does not resolve
    assert fields(resource)
    assert set(fields(resource)) <= set(found["properties"])
    references = {part for part in json.dumps(found).split('"') if part.startswith("#/")}
    assert references <= {f"#/$defs/{name}" for name in found.get("$defs", ())}


def test_document_does_not_depend_on_hash_seed_or_environment() -> None:
    script = "import sys; from mpac.devtools.documentation.contract import render_openapi; sys.stdout.write(render_openapi())"
    environment = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "7", "MPAC_PUBLIC_URL": "https://pay.example"}
    made = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert made.stdout == render_openapi()
