"""Draw a fate for calls that name none, at configured rates.

The draw is a hash of seed and reference rather than the next random number, so that it does not depend on the order of calls.
The same seed and references give the same faults in every run.
"""

from bisect import bisect_right
from collections.abc import Mapping
from hashlib import blake2b
from itertools import accumulate

from sandbox.errors import bad_request_error
from sandbox.faults import APPROVE, Fate, parse_fate

DRAW_BITS = 53  # as many as a float holds exactly, so that a draw is always below 1
ROUNDING = 1e-9  # ten times 0.1 is slightly more than 1 in binary


class FaultRates:
    """The rate of each fate. Rates are not stored: after a restart the sandbox draws no faults until rates are set."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Set all rates to zero."""
        self.set(seed=0, rates={})

    def set(self, *, seed: int, rates: Mapping[str, float]) -> None:
        """Replace the rates, given by fate. Raises Refused (400) for unknown faults and for a sum above 1."""
        texts = sorted(rates)  # independent of the order in which the client wrote them
        fates = [parse_fate(text) for text in texts]
        if any(not 0 <= rate <= 1 for rate in rates.values()) or sum(rates.values()) > 1 + ROUNDING:
            raise bad_request_error("rates must be from 0 to 1 and their sum at most 1")
        self.seed = seed
        self.rates = dict(rates)
        self._fates = fates
        self._edges = list(accumulate(rates[text] for text in texts))

    def draw(self, reference: str) -> Fate:
        """Return the fate of this reference under the current seed and rates."""
        if not self._fates:
            return APPROVE
        digest = blake2b(f"{self.seed}:{reference}".encode(), digest_size=8).digest()
        draw = (int.from_bytes(digest) >> (64 - DRAW_BITS)) / 2**DRAW_BITS
        index = bisect_right(self._edges, draw)
        return self._fates[index] if index < len(self._fates) else APPROVE
