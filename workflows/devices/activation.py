"""Activate devices: generate an activation code, then check it and store the device's public key.

A code is valid once, for 15 minutes and five tries, and is stored as a hash. It is short enough to type: 12 of 31 characters,
59 bits. The hash is keyed, so codes cannot be tried against a copy of the table. It covers the device, so a hash that is
copied to another device's row matches no code. A new code replaces the old one and resets its tries. A device that has a key
can get a code too, because its key may be lost; the code changes nothing until it is used.

| phase  | what ``activate_device`` does                                                                          |
|--------|--------------------------------------------------------------------------------------------------------|
| key    | check the kind of the public key before any look-up, so that this error reveals nothing about a device    |
| lock   | lock the device by its serial number, so that concurrent tries are counted one after the other            |
| check  | check the code. A wrong code counts as a try, and the count is committed although the answer is an error  |
| apply  | store the key and a new client id, and mark the code as used. A waiting device becomes ``active``. A      |
|        | device that had a key keeps its status; its old key, its old client id and all tokens issued for them     |
|        | become invalid                                                                                            |

The same code, serial number and key get the same answer until the code expires, because the first answer may have been lost.
An unknown serial number, a wrong, expired, exhausted or used code, and a different key all get the same answer (401, because
the code is a secret that did not authenticate), so that an attacker cannot find out which devices exist.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from sqlalchemy import func, select, text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import Role, transaction
from workflows.devices.queries import lock_device
from workflows.devices.states import DEVICE, HAS_KEY, DeviceEvent, DeviceRemark, DeviceStatus
from workflows.errors import Detail, InvalidRequest, NotAuthenticated
from workflows.ids import new_id
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext, apply, invalid_transition_error

CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""The characters of a code, without 0, O, 1, I and L, which are easily confused on paper and on small displays."""

_NORMALISED = {ord(letter.lower()): letter for letter in CODE_ALPHABET if letter.isalpha()} | {
    ord(" "): None,
    ord("-"): None,
}

CODE_LENGTH = 12
CODE_LIFE = timedelta(minutes=15)
MAX_TRIES = 5
PURPOSE = b"mpac activation code v1:"


_STORE = text("""
    -- store: the expiry is computed by the database's clock, which also decides later whether the code has expired
    INSERT INTO activation_codes (device_id, code_hash, expires_at, tries, used_at, created_at)
    VALUES (:device_id, :code_hash, now() + :life, 0, NULL, now())
    ON CONFLICT (device_id) DO UPDATE SET code_hash = excluded.code_hash, expires_at = excluded.expires_at, tries = 0,
        used_at = NULL, created_at = excluded.created_at
    RETURNING expires_at
""")


@dataclass(frozen=True, slots=True)
class NewCode:
    """A new code and its expiry. The code is shown once and cannot be read again."""

    code: str
    expires_at: datetime


# Several devices may have the serial number, but at most one that is not deactivated. That one is activated.
_LOCK = text("""
    SELECT id, status, public_key_pem, client_id FROM devices WHERE serial_number = :serial_number
    ORDER BY status = 'deactivated', id DESC LIMIT 1 FOR UPDATE
""")
# A separate statement after the lock, because the locking statement does not see tries that were counted while it waited.
_CODE = text("""
    SELECT code_hash, used_at IS NOT NULL AS is_used, expires_at > now() AND tries < :max_tries AS is_alive, now() AS now
    FROM activation_codes WHERE device_id = :device_id
""")
NO_DEVICE: dict[str, Any] = {"id": None}
_COUNT_TRY = text("UPDATE activation_codes SET tries = tries + 1 WHERE device_id = :device_id AND used_at IS NULL")
_MARK_USED = text("UPDATE activation_codes SET used_at = now() WHERE device_id = :device_id")


def new_code() -> str:
    """Return a new random code."""
    return "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))


def normalise_code(code: str) -> str:
    """Normalise a typed code: upper-case the letters of the alphabet, drop spaces and hyphens.

    It uses a table and not ``upper()``, which would also turn letters outside the alphabet into letters of a code.
    """
    return code.translate(_NORMALISED)


def hash_code(code: str, *, device_id: str, secret: bytes) -> str:
    """Return the hash of ``code`` to store for the device."""
    return hmac.new(secret, PURPOSE + f"{device_id}:{code}".encode(), hashlib.sha256).hexdigest()


def code_matches(code: str, code_hash: str, *, device_id: str, secret: bytes) -> bool:
    """Return whether ``code``, as it was typed, is the code of ``code_hash``.

    The comparison takes constant time.
    """
    return hmac.compare_digest(hash_code(normalise_code(code), device_id=device_id, secret=secret), code_hash)


async def generate_code(device_id: str, *, caller: Caller, secret: bytes, request_id: str) -> NewCode:
    """Generate a code for a device and return it.

    Raises ``ResourceNotFound``, and ``InvalidStatusTransition`` if the device is ``deactivated``.
    """
    code = new_code()
    async with caller_transaction(caller) as connection:
        device = await lock_device(connection, device_id, caller)
        if device["status"] == DeviceStatus.DEACTIVATED:
            raise invalid_transition_error(DEVICE, device["status"], DeviceEvent.ACTIVATE)
        if device["status"] in HAS_KEY:
            # Not now(): the transaction may have waited for the lock, and times must not decrease between versions (I14).
            at = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            by = ChangeContext.caller(caller, at=at, request_id=request_id)
            await apply(connection, DEVICE, entity_id=device_id, event=DeviceRemark.OFFER_KEY, by=by)
        row = {
            "device_id": device_id,
            "code_hash": hash_code(code, device_id=device_id, secret=secret),
            "life": CODE_LIFE,
        }
        expires_at = (await connection.execute(_STORE, row)).scalar_one()
    return NewCode(code, expires_at)


async def activate_device(
    *, code: str, serial_number: str, public_key_pem: str, secret: bytes, request_id: str
) -> dict[str, Any]:
    """Activate a device and return its row with its ``client_id``.

    The device is ``active`` then, unless it was suspended before. Raises ``InvalidRequest`` (the key), ``NotAuthenticated``
    (serial number or code), and ``InvalidStatusTransition`` if the code is correct but the device was deactivated meanwhile.
    """
    key = canonical_key(public_key_pem)
    activated: dict[str, Any] | None = None
    async with transaction(Role.ACCEPT) as connection:
        row = (await connection.execute(_LOCK, {"serial_number": serial_number})).mappings().one_or_none()
        device = dict(row) if row else NO_DEVICE
        parameters = {"device_id": device["id"], "max_tries": MAX_TRIES}
        found = (await connection.execute(_CODE, parameters)).mappings().one_or_none()
        if found is None or not _is_valid(code, found, device_id=device["id"], secret=secret):
            await connection.execute(_COUNT_TRY, {"device_id": device["id"]})
        elif device["status"] == DeviceStatus.DEACTIVATED:
            raise invalid_transition_error(DEVICE, device["status"], DeviceEvent.ACTIVATE)
        elif not found["is_used"]:
            by = ChangeContext("device", device["id"], found["now"], request_id)
            activated = await _store_key(connection, device, key=key, by=by)
        elif device["public_key_pem"] == key:  # the first answer may have been lost
            activated = device
    if activated is None:  # raised after the transaction, so that the count of tries is committed
        raise NotAuthenticated(message="This code does not activate this device; ask for a new one if yours is old")
    return activated


def canonical_key(public_key_pem: str) -> str:
    """Return the key in its canonical PEM spelling.

    Raises ``InvalidRequest`` unless it is a public EC P-256 key.
    """
    try:
        key = load_pem_public_key(public_key_pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise InvalidRequest(Detail("public_key_pem", "Must be the PEM of an EC public key on the curve P-256"))
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _is_valid(code: str, found: RowMapping, *, device_id: str, secret: bytes) -> bool:
    has_matched = code_matches(code, found["code_hash"], device_id=device_id, secret=secret)
    return has_matched and bool(found["is_alive"])


async def _store_key(
    connection: AsyncConnection, device: dict[str, Any], *, key: str, by: ChangeContext
) -> dict[str, Any]:
    event = DeviceRemark.REPLACE_KEY if device["status"] in HAS_KEY else DeviceEvent.ACTIVATE
    changes = {"client_id": new_id("client"), "public_key_pem": key, "activated_at": by.at}
    row = await apply(connection, DEVICE, entity_id=device["id"], event=event, by=by, changes=changes)
    await connection.execute(_MARK_USED, {"device_id": device["id"]})
    return row
