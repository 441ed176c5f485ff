"""Check a commit message: ``area: Imperative sentence``, at most 72 characters, no semicolon.

Git runs this file as a script (``.githooks/commit-msg``), so it imports the standard library only.
"""

import re
import sys
from pathlib import Path

MAX_SUBJECT = 72  # longer subjects are cut off by `git log --oneline` in a terminal and by most web pages

SUBJECT = re.compile(r"(?P<area>[a-z][a-z0-9/_, -]*): (?P<sentence>[A-Z].*)")

WRITTEN_BY_GIT = ("Merge ", "Revert ", "fixup! ", "squash! ", "amend! ")

NOT_IMPERATIVE = re.compile(
    r"(Add|Allow|Chang|Check|Correct|Creat|Delet|Document|Dropp|Explain|Fix|Handl|Implement|Improv|Introduc|Mov|Refus|"
    r"Remov|Renam|Replac|Return|Rewrit|Shorten|Show|Support|Test|Updat|Us)(e?s|e?d|ing)"
)
"""Frequent verbs with a wrong ending. A general rule would refuse words such as "Process", "Embed" and "Bring"."""


def problems(message: str) -> list[str]:
    """Return what is wrong with ``message``, one sentence each; an empty list if nothing is."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject = lines[0] if lines else ""
    if subject.startswith(WRITTEN_BY_GIT):
        return []
    found = []
    match = SUBJECT.fullmatch(subject)
    if not match:
        found.append(
            "Write the subject as `area: Imperative sentence`, for example `payments: Reject an unknown method`."
        )
    elif NOT_IMPERATIVE.fullmatch(match["sentence"].split()[0]):
        found.append("Use the imperative: `Add`, not `Added`, `Adds` or `Adding`.")
    if len(subject) > MAX_SUBJECT:
        found.append(f"Shorten the subject from {len(subject)} to {MAX_SUBJECT} characters.")
    if ";" in subject:
        found.append("A semicolon joins two changes: make two commits.")
    if subject.endswith("."):
        found.append("Leave out the full stop at the end of the subject.")
    if len(lines) > 1 and lines[1].strip():
        found.append("Leave the second line empty: the body begins on the third.")
    return found


def main() -> int:
    """Check the file that Git names, print each problem, and return the exit code."""
    found = problems(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for problem in found:
        print(f"commit message: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
