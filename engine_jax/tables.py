"""Tables of text."""

from collections.abc import Sequence

INTERVAL_LEGEND = "[low, high]: 95 % bootstrap interval over images"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row, with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def with_interval(value: float, interval: Sequence[float] | None, form: str = ".1f") -> str:
    """A number in the given format, followed by its interval if there is one: "47.1 [45.2, 49.0]"."""
    text = format(value, form)
    if interval is None:
        return text
    low, high = interval
    return f"{text} [{low:.1f}, {high:.1f}]"


def percent(value: float | None, interval: Sequence[float] | None = None, digits: int = 1) -> str:
    """A rate in [0, 1] in percent, followed by its interval if there is one; a dash for None."""
    if value is None:
        return "-"
    ends = None if interval is None else [100 * end for end in interval]
    return with_interval(100 * value, ends, f".{digits}f")
