"""The dial: which fate befalls a call that brought none of its own.

The draw is a hash of seed and reference, not the next number of a generator, so it does not depend on the order in
which calls arrive: the same seed and the same references give the same faults in every run.
"""

from bisect import bisect_right
from collections.abc import Mapping
from hashlib import blake2b
from itertools import accumulate

from sandbox.errors import bad_request
from sandbox.faults import APPROVE, Fate, parse_fate

DRAW_BITS = 53  # as many as a float holds exactly, so that a draw is always below 1
ROUNDING = 1e-9  # ten times 0.1 is a hair more than 1 in binary


class Dial:
    """Rates by word, and the draw. It is not stored: a restarted sandbox is an honest one until told otherwise."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Back to approving everything."""
        self.set(seed=0, rates={})

    def set(self, *, seed: int, rates: Mapping[str, float]) -> None:
        """Take new rates, replacing the old. Raises Refused (400) for unknown words and for a sum above 1."""
        words = sorted(rates)  # so that the order in which a client wrote them does not matter
        fates = [parse_fate(word) for word in words]
        if any(not 0 <= rates[word] <= 1 for word in words) or sum(rates.values()) > 1 + ROUNDING:
            raise bad_request("rates must be from 0 to 1 and their sum at most 1")
        self.seed = seed
        self.rates = dict(rates)
        self._fates = fates
        self._edges = list(accumulate(rates[word] for word in words))

    def draw(self, reference: str) -> Fate:
        """The fate of this reference under the present seed and rates."""
        if not self._fates:
            return APPROVE
        digest = blake2b(f"{self.seed}:{reference}".encode(), digest_size=8).digest()
        draw = (int.from_bytes(digest) >> (64 - DRAW_BITS)) / 2**DRAW_BITS
        place = bisect_right(self._edges, draw)
        return self._fates[place] if place < len(self._fates) else APPROVE
