"""Format durations for people. All commands use this function."""

UNITS = ((86_400, "day"), (3_600, "h"), (60, "min"), (1, "s"))


def format_duration(seconds: float, *, units: int = 1) -> str:
    """Return a duration in its largest ``units`` units, rounded down: `40 s`, `2 min`, `1 day 3 h 4 min`."""
    rest = int(seconds)
    counts: list[tuple[int, str]] = []
    for length, unit in UNITS:
        count, rest = divmod(rest, length)
        if count or counts:
            counts.append((count, unit))
    shown = [f"{count:,} {_plural(unit, count)}" for count, unit in counts[:units] if count]
    return " ".join(shown) or "0 s"


def _plural(unit: str, count: int) -> str:
    return "days" if unit == "day" and count != 1 else unit
