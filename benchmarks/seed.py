"""The product's terminals: made and given tokens in the product's own way."""

import time
from dataclasses import dataclass
from pathlib import Path

import jwt
import psycopg

from mpac.stack.local import LocalStack


@dataclass(frozen=True, slots=True)
class Device:
    """A terminal of a store."""

    id: str


async def devices(stack: LocalStack, number: int) -> list[Device]:
    """``number`` active devices of one store that takes QR payments through the sandbox provider."""
    async with await psycopg.AsyncConnection.connect(stack.urls.database, autocommit=True) as c:
        await c.execute("insert into psps values('psp_1','p') on conflict do nothing")
        await c.execute("insert into merchants values('mer_1','psp_1','m',now(),now()) on conflict do nothing")
        await c.execute(
            "insert into stores(id,merchant_id,name,currency,time_zone,cut_off,created_at,updated_at)"
            " values('sto_1','mer_1','s','JPY','Asia/Tokyo','00:00',now(),now()) on conflict do nothing"
        )
        await c.execute(
            "insert into store_providers values('spr_1','mer_1','sto_1','sandbox','{card,qr}',1,true,null,now(),now())"
            " on conflict do nothing"
        )
        for n in range(number):
            await c.execute(
                "insert into devices(id,merchant_id,store_id,serial_number,name,model,status,version,client_id,"
                "public_key_pem,created_at) values (%s,'mer_1','sto_1',%s,'n','m','pending_activation',1,%s,'pem',now())"
                " on conflict do nothing",
                (f"dev_{n}", f"s{n}", f"c{n}"),
            )
            await c.execute("update devices set status='active', version=2 where id=%s", (f"dev_{n}",))
    return [Device(f"dev_{n}") for n in range(number)]


def tokens(stack: LocalStack, found: list[Device]) -> list[str]:
    """One access token per device, good for two minutes."""
    key = Path(stack.environment["MPAC_DEVICE_TOKEN_KEY_FILE"]).read_text()
    now = int(time.time())
    claims = {"iss": "mpac-devices", "aud": "mpac-api", "iat": now, "exp": now + 120}
    tenant = {"psp_id": "psp_1", "merchant_id": "mer_1", "store_id": "sto_1"}
    return [jwt.encode({**claims, "sub": d.id, **tenant}, key, algorithm="ES256") for d in found]
