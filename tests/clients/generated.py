"""Generate clients from an OpenAPI document as an integrator would, and check the document by the generators' rules."""

import shutil
from pathlib import Path

from tests.clients.tools import NODE, PYTHON, Command, node_tools, python_tools, succeed

DOCUMENT = "openapi.json"


def lint(document: bytes, folder: Path) -> str:
    """Return Spectral's findings by its ``oas`` rules, warnings included."""
    tools = node_tools()
    (folder / DOCUMENT).write_bytes(document)
    rules: Command = ["--ruleset", NODE / "spectral.yaml", "--fail-severity", "warn"]
    return succeed([tools / "node_modules/.bin/spectral", "lint", *rules, folder / DOCUMENT], cwd=tools)


def typescript_client(document: bytes, folder: Path) -> Path:
    """Generate and compile the TypeScript client; return the program that pays with it."""
    tools = node_tools()
    (folder / DOCUMENT).write_bytes(document)
    for name in ("package.json", "tsconfig.json", "pay.ts"):
        shutil.copy(NODE / name, folder)
    (folder / "node_modules").symlink_to(tools / "node_modules")
    programs = folder / "node_modules/.bin"
    # Without the option, openapi-typescript requires every field that has a default.
    succeed([programs / "openapi-typescript", DOCUMENT, "-o", "api.ts", "--default-non-nullable=false"], cwd=folder)
    succeed([programs / "tsc"], cwd=folder)
    return folder / "built" / "pay.js"


def python_client(document: bytes, folder: Path) -> tuple[Path, Path]:
    """Generate the Python client, and copy the program that pays with it.

    Return an interpreter with the client's dependencies, and the program.
    """
    python = python_tools() / "env" / "bin" / "python"
    (folder / DOCUMENT).write_bytes(document)
    command: Command = [python, "-m", "openapi_python_client", "generate", "--path", DOCUMENT, "--fail-on-warning"]
    target: Command = [
        "--config",
        PYTHON / "config.yaml",
        "--meta",
        "none",
        "--output-path",
        folder / "generated_client",
    ]
    succeed([*command, *target], cwd=folder)
    shutil.copy(PYTHON / "pay.py", folder)
    return python, folder / "pay.py"
