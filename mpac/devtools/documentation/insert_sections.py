"""Insert each rendered text where it belongs: as a whole file, or between two markers in a file.

A marker is an HTML comment, which readers do not see: ``<!-- generated: errors -->`` … ``<!-- end: errors -->``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mpac.cli.errors import UserError
from mpac.devtools.documentation.contract import FOLDER, render_openapi, render_schemas
from mpac.devtools.documentation.help import render_help
from mpac.devtools.documentation.statuses import render_statuses
from mpac.devtools.documentation.tables import render_commands, render_configuration, render_errors, render_invariants
from mpac.devtools.documentation.terminal_errors import render_terminal_errors

Render = Callable[[], str]

WHOLE: Mapping[str, Render] = {
    "docs/statuses.md": render_statuses,
    "mpac/cli/help.json": render_help,
    f"{FOLDER}/openapi.json": render_openapi,
    **render_schemas(),
}
PARTS: Mapping[str, Mapping[str, Render]] = {
    "docs/commands.md": {"commands": render_commands},
    "docs/configuration.md": {"configuration": render_configuration},
    "docs/contract/api.md": {"errors": render_errors},
    "docs/contract/invariants.md": {"invariants": render_invariants},
    "docs/terminal.md": {"terminal-errors": render_terminal_errors},
}


@dataclass(frozen=True, slots=True)
class Page:
    """A file with generated content: what it contains now, and what it should contain."""

    name: str
    now: str
    wanted: str

    @property
    def has_drifted(self) -> bool:
        """Whether the file differs from the code."""
        return self.now != self.wanted


def pages(root: Path) -> Iterator[Page]:
    """Yield every file with generated content. Raises ``UserError`` for a file without its markers."""
    for name, render in WHOLE.items():
        file = root / name
        yield Page(name, file.read_text() if file.exists() else "", render())
    for name, parts in PARTS.items():
        now = wanted = (root / name).read_text()
        for mark, render in parts.items():
            wanted = replace_section(wanted, mark, render(), name=name)
        yield Page(name, now, wanted)


def replace_section(text: str, mark: str, content: str, *, name: str) -> str:
    """Return ``text`` with ``content`` between the markers of ``mark``."""
    begin, end = f"<!-- generated: {mark} -->", f"<!-- end: {mark} -->"
    before, found, rest = text.partition(begin)
    _, also_found, after = rest.partition(end)
    if not (found and also_found):
        raise UserError(f"{name} lacks the markers {begin} and {end}: add them where the text belongs.")
    return f"{before}{begin}\n{content}\n{end}{after}"
