"""Remember, while a file is read, whether anything in it looks like card data and has to be masked in the stored copy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workflows.card_data import holds_card_data, is_secret_name, looks_like_card_data


@dataclass
class Suspicion:
    """``has_card_data`` is set by the first cell, name or value that looks like it."""

    has_card_data: bool = False
    _is_clean: bool = False
    """The next row was searched already."""

    def look_at_names(self, header: Sequence[str]) -> None:
        """Look at the names of columns."""
        if any(is_secret_name(name) or looks_like_card_data(name) for name in header):
            self.has_card_data = True

    def look_at_row(self, cells: Sequence[str]) -> bool:
        """Return whether a row has a suspicious cell."""
        if self._is_clean:
            self._is_clean = False
            return False
        if not looks_like_card_data('"'.join(cells)):  # a quotation mark joins no digits, and most rows end here
            return False
        self.has_card_data = True
        return True

    def look_at_object(self, row: dict[str, Any]) -> None:
        """Look at all names and values of a line of JSON, however deep, before its row is looked at."""
        self._is_clean = not holds_card_data(row)
        self.has_card_data |= not self._is_clean
