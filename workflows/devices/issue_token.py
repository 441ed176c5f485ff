"""Issue an access token to a device that proves its identity by an assertion (OAuth 2 client credentials).

| phase   | what                                                                                                    |
|---------|---------------------------------------------------------------------------------------------------------|
| read    | check all claims, which takes microseconds, so that an assertion for another service costs nothing more   |
| look up | read the key of the device that the assertion names                                                       |
| verify  | check the signature: 0.1 ms of CPU, outside of a transaction                                               |
| redeem  | store the ``jti`` as used and mark the device as seen, in one statement. A second use finds the ``jti``   |

After a power cut ten thousand terminals request a token within half a minute. Requests that wait at the same time therefore
share both statements (``workflows.database.group_commit``): 1.2 ms of CPU per token instead of 2.6. If a ``jti`` is used twice
concurrently, the primary key of ``used_assertions`` decides which use wins. Within a group, the first use wins.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from workflows.database.engines import Role, rows_parameter
from workflows.database.group_commit import GroupCommit
from workflows.database.hot_path import execute_alone
from workflows.devices.client_assertions import Assertion, Assertions, check_signature, replay_error, signature_error
from workflows.devices.states import DeviceStatus
from workflows.tenants.caller import device_not_active_error
from workflows.tenants.tokens import Tokens

GROUP_LIMIT = 100  # requests per statement; a larger group gains little and delays its first request
CONCURRENCY = 2  # concurrent groups: one is in the database while the next is being verified

_FIND_KEYS = text("SELECT client_id, public_key_pem FROM devices WHERE client_id = ANY (:client_ids)")
_REDEEM = text("""
    -- redeem: an assertion that the INSERT skips was used before; a device whose row is locked is not marked as seen
    WITH requested AS (
        SELECT client_id, jti, expires_at
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(client_id text, jti text, expires_at timestamptz)
    ), used AS (
        INSERT INTO used_assertions (client_id, jti, expires_at) SELECT * FROM requested ORDER BY client_id, jti
        ON CONFLICT DO NOTHING RETURNING client_id, jti
    ), seen AS (
        SELECT id FROM devices WHERE status = 'active' AND client_id = ANY (ARRAY(SELECT client_id FROM used))
        FOR NO KEY UPDATE SKIP LOCKED
    ), marked AS (
        UPDATE devices SET last_connected_at = now() WHERE id = ANY (ARRAY(SELECT id FROM seen))
    )
    SELECT a.client_id, a.jti, u.jti IS NOT NULL AS is_first_use, d.id, d.status, d.merchant_id, d.store_id,
           psp_of(d.merchant_id) AS psp_id
    FROM requested a
    CROSS JOIN LATERAL (SELECT id, status, merchant_id, store_id FROM devices WHERE client_id = a.client_id LIMIT 1) d
    LEFT JOIN used u USING (client_id, jti)
""")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token and its lifetime."""

    token: str
    expires_in_seconds: int


class TokenIssuer:
    """Issues access tokens to devices. A process has one instance, which is bound to one event loop."""

    def __init__(self, tokens: Tokens, assertions: Assertions, *, timeout_seconds: float) -> None:
        self._tokens = tokens
        self._assertions = assertions
        self._find_key: GroupCommit[str, str | None] = GroupCommit(
            _read_public_keys, limit=GROUP_LIMIT, concurrency=CONCURRENCY, timeout_seconds=timeout_seconds
        )
        self._redeem: GroupCommit[Assertion, AccessToken] = GroupCommit(
            self._redeem_group, limit=GROUP_LIMIT, concurrency=CONCURRENCY, timeout_seconds=timeout_seconds
        )

    async def issue_device_token(self, client_assertion: str) -> AccessToken:
        """Return an access token for the device that signed the assertion.

        Raises ``NotAuthenticated`` if the assertion is invalid or was used before, ``NotAuthorized`` if the device is
        not ``active``, ``ServiceUnavailable``.
        """
        assertion = self._assertions.read(client_assertion)
        public_key_pem = await self._find_key.put(assertion.client_id)
        if public_key_pem is None:
            raise signature_error()
        check_signature(client_assertion, public_key_pem=public_key_pem)
        return await self._redeem.put(assertion)

    async def _redeem_group(self, group: list[Assertion]) -> list[AccessToken | BaseException]:
        rows = {assertion.identity: assertion.row() for assertion in group}
        found = await execute_alone(Role.ACCEPT, _REDEEM, {"rows": rows_parameter(list(rows.values()))})
        unclaimed = {(row["client_id"], row["jti"]): row for row in found}
        # pop(): if a group has the same assertion twice, the second one finds no row and is refused.
        return [self._answer(unclaimed.pop(assertion.identity, None)) for assertion in group]

    def _answer(self, row: Any) -> AccessToken | BaseException:
        if row is None or not row["is_first_use"]:
            # It was used before, or the device's key was replaced after the look-up, which replaced this client id.
            return replay_error()
        if row["status"] != DeviceStatus.ACTIVE:
            return device_not_active_error(row["status"])
        token = self._tokens.issue_device_token(
            device_id=row["id"],
            psp_id=row["psp_id"],
            merchant_id=row["merchant_id"],
            store_id=row["store_id"],
            client_id=row["client_id"],
        )
        return AccessToken(token, self._tokens.device_token_seconds)


async def _read_public_keys(client_ids: list[str]) -> list[str | BaseException | None]:
    rows = await execute_alone(Role.ACCEPT, _FIND_KEYS, {"client_ids": client_ids})
    found = {row["client_id"]: row["public_key_pem"] for row in rows}
    return [found.get(client_id) for client_id in client_ids]
