"""Print the story: sentences that stay and, on a terminal, a few numbers below them that change.

If the output is not a terminal (a log, a pipe), the numbers are printed as a line every two seconds.
"""

import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

LINE_EVERY_SECONDS = 2.0
REFRESHES_PER_SECOND = 8
WIDTH_WITHOUT_TERMINAL = 110
WIDE = 100  # columns


class StoryConsole:
    """The console on which the story is printed. ``watch`` sets the numbers to show while something runs."""

    def __init__(self) -> None:
        self.rich = Console(highlight=False)
        if not self.rich.is_terminal:
            self.rich.width = WIDTH_WITHOUT_TERMINAL
        self._live: Live | None = None
        self._numbers: Callable[[], str] = str
        self._last_line = 0.0

    @property
    def gap(self) -> int:
        """Blanks between the columns of a wide table: two if there is room."""
        return 2 if self.rich.width >= WIDE else 1

    def title(self, words: str) -> None:
        """Print a heading."""
        self.rich.print()
        self.rich.print(Text(words, style="bold"))

    def say(self, sentence: str, *, style: str = "", moment: str = "") -> None:
        """Print a sentence with ``moment``, the story's own time, or else the time of day in front of it."""
        moment = moment or datetime.now().strftime("%H:%M:%S")  # noqa: DTZ005 - the reader's local time
        line = Table.grid(padding=(0, 2))
        line.add_row(Text(moment, style="dim"), Text(sentence, style=style))
        self.rich.print(line)

    def show(self, what: RenderableType) -> None:
        """Print a table or text, slightly indented."""
        self.rich.print(Padding(what, (0, 0, 0, 2)))

    def watch(self, numbers: Callable[[], str]) -> "StoryConsole":
        """Show ``numbers()`` while the ``with`` block runs; call ``tick`` regularly."""
        self._numbers = numbers
        return self

    def tick(self) -> None:
        """Show the present ``numbers()`` in the live line.

        Without a terminal, print the numbers as a new line from time to time.
        """
        if self._live:
            self._live.update(self._line())
        elif time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            self.say(self._numbers())

    def __enter__(self) -> Self:
        if self.rich.is_terminal:
            self._live = Live(self._line(), console=self.rich, refresh_per_second=REFRESHES_PER_SECOND, transient=True)
            self._live.start()
        self._last_line = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def _line(self) -> RenderableType:
        return Padding(Text(self._numbers(), style="cyan"), (1, 0, 0, 2))
