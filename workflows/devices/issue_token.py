"""Issue a token: OAuth 2 client credentials, the client proving itself by an assertion signed with its device's key.

| phase  | what                                                                                                     |
|--------|----------------------------------------------------------------------------------------------------------|
| look   | the device that the assertion claims to be from                                                            |
| verify | signature and claims, 0.1 ms of processor and no transaction                                               |
| redeem | its ``jti`` is used up and the device marked as seen, in one statement; a second use finds it used           |

Two short statements, because at the end of a power cut ten thousand terminals come within half a minute. Which of two
uses of one ``jti`` at the same moment wins is decided by the primary key of ``used_assertions``.
"""

from dataclasses import dataclass

from sqlalchemy import text

from workflows.database import Role, transaction
from workflows.devices.assertions import Assertion, claimed_client, refused, verify_assertion
from workflows.devices.states import DeviceStatus
from workflows.tenants.caller import device_not_active
from workflows.tenants.tokens import Tokens

_LOOK = text("SELECT public_key_pem FROM devices WHERE client_id = :client_id")
_REDEEM = text("""
    WITH used AS (
        INSERT INTO used_assertions (client_id, jti, expires_at) VALUES (:client_id, :jti, :expires_at)
        ON CONFLICT DO NOTHING RETURNING client_id
    ), seen AS (
        UPDATE devices SET last_connected_at = now() FROM used
        WHERE devices.client_id = used.client_id AND devices.status = 'active'
    )
    SELECT d.id, d.status, d.merchant_id, d.store_id, psp_of(d.merchant_id) AS psp_id,
           EXISTS (SELECT FROM used) AS is_first_use
    FROM devices d WHERE d.client_id = :client_id
""")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token and the seconds it lives."""

    token: str
    expires_in_seconds: int


async def issue_device_token(assertion: str, *, accepted: frozenset[str], tokens: Tokens) -> AccessToken:
    """An access token for the device whose assertion this is; ``accepted`` are the audiences it may name.

    Raises ``NotAuthenticated`` where the assertion is not good or was used before, ``NotAuthorized`` where the device
    is not ``active``.
    """
    client_id = claimed_client(assertion)
    async with transaction(Role.ACCEPT) as connection:
        public_key_pem = (await connection.execute(_LOOK, {"client_id": client_id})).scalar()
    if public_key_pem is None:
        raise refused("Its signature must be good and made with the device's key")
    proved = verify_assertion(assertion, public_key_pem=public_key_pem, client_id=client_id, accepted=accepted)
    return await _redeem(proved, tokens)


async def _redeem(proved: Assertion, tokens: Tokens) -> AccessToken:
    parameters = {"client_id": proved.client_id, "jti": proved.jti_hash, "expires_at": proved.expires_at}
    async with transaction(Role.ACCEPT) as connection:
        row = (await connection.execute(_REDEEM, parameters)).one()
    if not row.is_first_use:
        raise refused("Its jti was used before; make a new assertion for each token")
    if row.status != DeviceStatus.ACTIVE:
        raise device_not_active(row.status)
    token = tokens.issue_device_token(
        device_id=row.id, psp_id=row.psp_id, merchant_id=row.merchant_id, store_id=row.store_id
    )
    return AccessToken(token, tokens.device_token_seconds)
