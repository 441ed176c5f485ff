"""Activate a device: check its activation code and store its public key.

| phase  | what                                                                                                   |
|--------|--------------------------------------------------------------------------------------------------------|
| key    | check the kind of the public key before any lookup, so that this error reveals nothing about a device     |
| lock   | lock the device by its serial number, so that concurrent tries are counted one after the other            |
| check  | a wrong code counts as a try; the count is committed although the answer is an error                      |
| apply  | store the key and a new client id, and mark the code as used. A waiting device becomes ``active``. A      |
|        | device that had a key does not change its status; its old key becomes invalid, with the old client id and |
|        | all tokens issued for it                                                                                  |

The same code, serial number and key get the same answer until the code expires, because the first answer may have been lost.
An unknown serial number, a wrong, expired, exhausted or used code, and another key all get the same answer (401: the code is a
secret that did not authenticate), so that an attacker cannot find out which devices exist.
"""

from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import Role, transaction
from workflows.devices.codes import MAX_TRIES, matches
from workflows.devices.states import DEVICE, HAS_KEY, DeviceEvent, DeviceRemark, DeviceStatus
from workflows.errors import Detail, InvalidRequest, NotAuthenticated
from workflows.ids import new_id
from workflows.transitions import ChangeContext, apply, invalid_transition

# At most one device with a serial number is not deactivated; that device is activated.
_LOCK = text("""
    SELECT id, status, public_key_pem, client_id FROM devices WHERE serial_number = :serial_number
    ORDER BY status = 'deactivated', id DESC LIMIT 1 FOR UPDATE
""")
# A separate statement after the lock, because the locking one does not see tries counted while it waited.
_CODE = text("""
    SELECT code_hash, used_at IS NOT NULL AS is_used, expires_at > now() AND tries < :max_tries AS is_alive, now() AS now
    FROM activation_codes WHERE device_id = :device_id
""")
NO_DEVICE: dict[str, Any] = {"id": None}
_COUNT_TRY = text("UPDATE activation_codes SET tries = tries + 1 WHERE device_id = :device_id AND used_at IS NULL")
_USE_UP = text("UPDATE activation_codes SET used_at = now() WHERE device_id = :device_id")


async def activate_device(
    *, code: str, serial_number: str, public_key_pem: str, secret: bytes, request_id: str
) -> dict[str, Any]:
    """Activate a device and return its row with its ``client_id``.

    It is ``active`` unless it was suspended before. Raises ``InvalidRequest`` (the key), ``NotAuthenticated`` (serial number
    or code), and ``InvalidStatusTransition`` if the code is correct but the device was deactivated meanwhile.
    """
    key = canonical_key(public_key_pem)
    activated: dict[str, Any] | None = None
    async with transaction(Role.ACCEPT) as connection:
        row = (await connection.execute(_LOCK, {"serial_number": serial_number})).mappings().one_or_none()
        device = dict(row) if row else NO_DEVICE
        parameters = {"device_id": device["id"], "max_tries": MAX_TRIES}
        found = (await connection.execute(_CODE, parameters)).mappings().one_or_none()
        if found is None or not _is_right(code, found, device_id=device["id"], secret=secret):
            await connection.execute(_COUNT_TRY, {"device_id": device["id"]})
        elif device["status"] == DeviceStatus.DEACTIVATED:
            raise invalid_transition(DEVICE, device["status"], DeviceEvent.ACTIVATE)
        elif not found["is_used"]:
            by = ChangeContext("device", device["id"], found["now"], request_id)
            activated = await _install(connection, device, key=key, by=by)
        elif device["public_key_pem"] == key:  # the first answer may have been lost
            activated = device
    if activated is None:  # raised after the commit of the try
        raise NotAuthenticated(message="This code does not activate this device; ask for a new one if yours is old")
    return activated


def _is_right(code: str, found: RowMapping, *, device_id: str, secret: bytes) -> bool:
    is_the_code = matches(code, found["code_hash"], device_id=device_id, secret=secret)
    return is_the_code and bool(found["is_alive"])


async def _install(
    connection: AsyncConnection, device: dict[str, Any], *, key: str, by: ChangeContext
) -> dict[str, Any]:
    event = DeviceRemark.REPLACE_KEY if device["status"] in HAS_KEY else DeviceEvent.ACTIVATE
    changes = {"client_id": new_id("client"), "public_key_pem": key, "activated_at": by.at}
    row = await apply(connection, DEVICE, entity_id=device["id"], event=event, by=by, changes=changes)
    await connection.execute(_USE_UP, {"device_id": device["id"]})
    return row


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
