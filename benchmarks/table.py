"""How benchmarks take their times, in turns, and show them: as a table of medians and ratios, and as JSON."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import jax

T = TypeVar("T")


def in_turns(steps: Mapping[str, Callable[[], T]], turns: int) -> dict[str, list[T]]:
    """What each step took, once for each turn; before these, all take a turn to warm up.

    Args:
        steps: functions that take a step and return its seconds.
        turns: how often each is called.
    """
    seconds: dict[str, list[T]] = {name: [] for name in steps}
    for turn in range(turns + 1):
        for name, step in steps.items():
            taken = step()
            if turn:
                seconds[name].append(taken)
    return seconds


def show_times(
    title: str, seconds: Mapping[str, Sequence[float]], ours: str, file: Path | None = None
) -> None:
    """Prints what took how long, and how often as long as ours.

    Args:
        title: what was timed.
        seconds: of each form, one time for each turn, in the turns' order.
        ours: the form that the others are divided by, turn by turn: above 1 is slower than ours.
        file: where the same goes as JSON; None is nowhere.
    """
    device = jax.devices()[0].device_kind
    rows = {
        name: {
            "median_ms": 1e3 * statistics.median(times),
            "least_ms": 1e3 * min(times),
            "ratio": statistics.median(a / b for a, b in zip(times, seconds[ours], strict=True)),
        }
        for name, times in seconds.items()
    }
    print(f"{title}; JAX {jax.__version__}, {device}\n")
    print(f"| form | median ms | least ms | median ratio to {ours} |\n|---|---|---|---|")
    for name, row in rows.items():
        print(
            f"| {name} | {row['median_ms']:.2f} | {row['least_ms']:.2f} | {row['ratio']:.2f} |",
            flush=True,
        )
    if file is not None:
        about = {"title": title, "jax": jax.__version__, "device": device, "forms": rows}
        file.write_text(json.dumps(about, indent=2) + "\n")
