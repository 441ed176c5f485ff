"""Create the product's terminals with ``mpac seed``, and request their access tokens as any device does."""

import asyncio
import json
import sys
from typing import Any

import aiohttp

from mpac.cli.errors import UserError
from mpac.devtools.terminal import Terminal
from mpac.stack.local_stack import LocalStack
from mpac.stack.state_folder import ROOT

STORES = 4

Device = dict[str, str]


async def create_devices(stack: LocalStack, number: int, *, stores: int = STORES) -> list[Device]:
    """Create ``number`` active devices in a few stores that accept QR payments through the sandbox."""
    words = ("seed", "--json", "--devices", str(number), "--stores", str(stores), "--home", str(stack.home.path))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mpac", *words), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise UserError("The devices could not be created; the reason is above.")
    found: dict[str, Any] = json.loads(said)
    return list(found["devices"])


async def request_tokens(api_url: str, devices: list[Device]) -> list[str]:
    """Request one access token per device. They are valid for two minutes, longer than any single load."""
    async with aiohttp.ClientSession() as session:
        return [await Terminal(api_url, device, session=session).token() for device in devices]
