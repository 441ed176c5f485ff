"""The sandbox adapter never treats an answer of a misbehaving server as certain."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from workflows.providers.base import Answer, Charge, ChargeRefund, Declined, Unavailable, Unknown
from workflows.providers.sandbox import SandboxProvider
from workflows.settings import Settings

CHARGE = Charge("pay_1:1", "pay_1", 1_000, "JPY", "qr", "cpm", 300.0)
REFUND = ChargeRefund("rfd_1:1", "pay_1", "pay_1:1", 1_000, "JPY")
Said = tuple[int, Mapping[str, str]]
CODES = {400: "invalid_request", 404: "not_found", 429: "rate_limited"}


@asynccontextmanager
async def server_answering(settings: Settings, said: Said) -> AsyncIterator[tuple[SandboxProvider, list[str]]]:
    """Run a server that answers ``said`` to every call; yield the adapter and the received requests."""
    heard: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        heard.append(f"{request.method} {request.path}")
        if request.path.startswith("/v1/"):
            error = {"code": CODES.get(said[0], ""), "message": "the api version is not supported"}
            reference = REFUND.reference if "refunds" in request.path else CHARGE.reference
            return web.json_response({"error": error, "reference": reference}, status=said[0], headers=said[1])
        return web.Response(status=503)

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    provider = SandboxProvider(settings.model_copy(update={"sandbox_url": f"http://127.0.0.1:{port}"}))
    try:
        yield provider, heard
    finally:
        await provider.close()
        await runner.cleanup()


async def ask(provider: SandboxProvider, what: str) -> Answer:
    if what == "charge":
        return await provider.charge(CHARGE)
    return await provider.refund(REFUND)


@pytest.mark.parametrize("what", ["charge", "refund"])
async def test_404_to_a_charge_or_refund_leaves_the_outcome_unknown(settings: Settings, what: str) -> None:
    async with server_answering(settings, (404, {})) as (provider, _):
        assert isinstance(await ask(provider, what), Unknown)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("what", ["charge", "refund"])
async def test_redirect_of_a_charge_or_refund_is_not_followed(settings: Settings, what: str, status: int) -> None:
    # If it were followed, a 503 of the new address would count as "certainly nothing happened" and repeat the charge.
    async with server_answering(settings, (status, {"Location": "/elsewhere"})) as (provider, heard):
        assert isinstance(await ask(provider, what), Unknown)
        assert len(heard) == 1


@pytest.mark.parametrize("what", ["charge", "refund"])
async def test_refusal_of_a_charge_or_refund_is_a_decline(settings: Settings, what: str) -> None:
    async with server_answering(settings, (400, {})) as (provider, _):
        assert await ask(provider, what) == Declined("refused_by_provider", "the api version is not supported")


@pytest.mark.parametrize("question", ["inquire", "inquire_refund", "withdraw"])
async def test_refusal_of_an_inquiry_says_nothing_about_the_charge(settings: Settings, question: str) -> None:
    async with server_answering(settings, (400, {})) as (provider, _):
        assert isinstance(
            await getattr(provider, question)(REFUND if question == "inquire_refund" else CHARGE),
            Unknown | Unavailable,
        )


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [("7", 7.0), ("²", None), ("-1", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)]
)
async def test_unreadable_retry_after_is_ignored(settings: Settings, retry_after: str, seconds: float | None) -> None:
    async with server_answering(settings, (429, {"Retry-After": retry_after})) as (provider, _):
        answer = await provider.charge(CHARGE)
        assert isinstance(answer, Unavailable)
        assert answer.retry_after_seconds == seconds
