"""Security headers of every answer: without a policy of its own, a browser may do nothing with it.

The API is for programs. The headers matter if an answer is opened in a browser or framed by another site.
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
"""The headers of an answer that sets none of them itself."""


def missing_headers(headers: Headers) -> Headers:
    """Return the headers to add to an answer that has ``headers``. None is sent twice."""
    own = {name.lower() for name, _ in headers}
    return USUAL if own.isdisjoint(_NAMES) else tuple(one for one in USUAL if one[0] not in own)


_NAMES = frozenset(name for name, _ in USUAL)
