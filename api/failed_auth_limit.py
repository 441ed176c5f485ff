"""Limit the refused attempts to authenticate per address, so that one address cannot use up the attempts of others.

| request                                            | counted                                                          |
|----------------------------------------------------|------------------------------------------------------------------|
| a valid token                                      | not here, but by the limits of its merchant and of all callers   |
| a valid assertion or activation code               | never, because ten thousand terminals may share an address       |
| a valid signature that is refused (expired, used)  | never, because the caller is known                               |
| no token, any other token, assertion or code       | for its address; above the limit the answer is 429 instead of 401 |

Credentials are checked before an attempt is counted, so that a valid caller is not refused because of others behind the same
address. Cheap checks come first: all claims of an assertion are checked before the database and the signature. An activation
code cannot be checked cheaply, so an address above its limit is refused before its code is checked.

Each process counts alone. The limit bounds the CPU time that unknown callers cost, which is per process too, and a flood of
addresses must not become a flood of messages to the broker. IPv6 addresses are counted by /64, the smallest network that a
customer gets. The number of counted addresses is bounded. Further addresses share one count, which affects only refused
attempts.
"""

import time
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.types import Scope

from workflows.errors import RateLimitExceeded
from workflows.settings import Settings

WINDOW_SECONDS = 60
MAX_ADDRESSES = 10_000
OTHERS = "others"
PREFIX_BITS = 64
Address = IPv4Address | IPv6Address


class FailedAuthLimit:
    """The refused attempts that this process has counted in the current minute, by address."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.rate_limit_unknown_per_address
        self._proxies = [ip_network(proxy, strict=False) for proxy in settings.proxies]
        self._window = 0
        self._counts: Counter[str] = Counter()

    def count(self, scope: Scope) -> None:
        """Count a refused attempt. Raises ``RateLimitExceeded`` above the limit of its address."""
        self.check(scope)
        self._counts[self._bucket(scope)] += 1

    def check(self, scope: Scope) -> None:
        """Raise ``RateLimitExceeded`` if the address of a request has reached its limit in this minute."""
        now = time.monotonic()
        if int(now // WINDOW_SECONDS) != self._window:
            self._window = int(now // WINDOW_SECONDS)
            self._counts.clear()
        if self._limit and self._counts[self._bucket(scope)] >= self._limit:
            raise RateLimitExceeded(retry_after_seconds=WINDOW_SECONDS - int(now % WINDOW_SECONDS))

    def _bucket(self, scope: Scope) -> str:
        name = network_of(self._caller(scope))
        return name if name in self._counts or len(self._counts) < MAX_ADDRESSES else OTHERS

    def _caller(self, scope: Scope) -> Address | None:
        """Return the client's address: the last one in ``X-Forwarded-For`` that is not a trusted proxy.

        A client can invent all addresses before it.
        """
        client = scope.get("client")
        found = _address(client[0]) if client else None
        hops = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        for hop in reversed(b",".join(hops).decode("latin-1").split(",")):
            before = _address(hop)
            if found is None or before is None or not any(found in proxies for proxies in self._proxies):
                break
            found = before
        return found


def network_of(address: Address | None) -> str:
    """Return the network that an address is counted for: a /64 for IPv6, the address itself for IPv4."""
    if isinstance(address, IPv6Address):
        return f"{int(address) >> PREFIX_BITS:x}/{PREFIX_BITS}"
    return str(address)


def _address(text: str) -> Address | None:
    """Parse an address as proxies write it; return ``None`` if it is invalid.

    The address may have a port and brackets.
    """
    text = text.strip(" \t")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
