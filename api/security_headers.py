"""Add security headers to every response. By default they forbid a browser to load or run anything.

The API is for programs. The headers matter if a response is opened in a browser or framed by another site.
"""

Headers = tuple[tuple[bytes, bytes], ...]

ALWAYS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
POLICY = b"content-security-policy"
NOTHING = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
CACHE = b"cache-control"
NO_STORE = b"no-store"  # payments and tokens must not be cached

USUAL: Headers = (*ALWAYS, (POLICY, NOTHING), (CACHE, NO_STORE))
"""The default headers. A response that sets one of them itself keeps its own value."""


def missing_headers(headers: Headers) -> Headers:
    """Return the security headers that a response with ``headers`` lacks."""
    own = {name.lower() for name, _ in headers}
    return USUAL if own.isdisjoint(_NAMES) else tuple(header for header in USUAL if header[0] not in own)


_NAMES = frozenset(name for name, _ in USUAL)
