"""Tables of text."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row, with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def percent(value: float | None, interval: Sequence[float] | None = None, digits: int = 1) -> str:
    """A rate in [0, 1] in percent, with the ends of its interval, or a dash where there is none."""
    if value is None:
        return "-"
    text = f"{100 * value:.{digits}f}"
    if interval is None:
        return text
    low, high = (100 * end for end in interval)
    return f"{text} [{low:.1f}, {high:.1f}]"
