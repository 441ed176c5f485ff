"""Connections over TLS are reused, too, and a provider with an untrusted certificate receives nothing."""

import asyncio
import ipaddress
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.providers.conftest import Run
from tests.integration.providers.peer import Heard, Peer, answer_correctly, charge, correct_answer, say
from workflows import clock
from workflows.providers.base import Answer, Succeeded, Unavailable
from workflows.providers.sandbox import SandboxProvider
from workflows.settings import Settings


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file that contains a self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a provider")])
    now = clock.now()
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = built.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path / "certificate.pem"
    file.write_bytes(pem)
    return file


async def asked(settings: Settings, certificate: Path, *, repeats: bool = False) -> tuple[list[Answer], list[int]]:
    """Send five charges to a peer over TLS; return the answers, and the numbers of their connections."""

    async def twice(heard: Heard, writer: asyncio.StreamWriter) -> None:
        await say(writer, correct_answer(heard) + correct_answer(heard))

    peer = Peer(twice if repeats else answer_correctly)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    provider = SandboxProvider(settings.model_copy(update={"sandbox_url": url}))
    try:
        answers: list[Answer] = [await provider.charge(charge(letter)) for letter in "abcde"]
    finally:
        await provider.close()
        server.close()
        for writer in peer.writers:
            writer.transport.abort()
    return answers, [heard.connection for heard in peer.heard]


@pytest.mark.parametrize("repeats", [False, True], ids=["once", "twice"])
def test_a_connection_is_used_again_only_while_nothing_stray_came(
    run: Run, settings: Settings, certificate: Path, monkeypatch: pytest.MonkeyPatch, repeats: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    async def scenario() -> None:
        answers, connections = await asked(settings, certificate, repeats=repeats)
        assert {type(answer) for answer in answers} == {Succeeded}
        assert connections == ([0, 1, 2, 3, 4] if repeats else [0] * 5)

    run(scenario())


def test_a_provider_with_an_untrusted_certificate_receives_nothing(
    run: Run, settings: Settings, certificate: Path
) -> None:
    async def scenario() -> None:
        answers, connections = await asked(settings, certificate)
        assert {type(answer) for answer in answers} == {Unavailable}
        assert not connections

    run(scenario())
