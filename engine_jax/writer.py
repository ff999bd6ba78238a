"""Metrics on disk: one JSON object a line, and TensorBoard events where tensorboardX is installed."""

import importlib.util
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax


class MetricsWriter:
    """Appends rows {"part": ..., "step": ..., "epoch": ..., name: value, ...} to a metrics.jsonl.

    A value that is not finite, which JSON doesn't have, is written as null and read as NaN.

    Args:
        path: the file.
        part: the part of the run that the rows belong to, which counts its steps from 0.
        step: the step from which the part is resumed; rows of later steps, written before the run was killed, are
            dropped, so that each row is there once.
    """

    def __init__(self, path: Path, part: str, step: int = 0):
        self._part = part
        self._file = self._events = None
        if jax.process_index():
            return  # One of several hosts writes.
        rows = _rows(path) if path.exists() else []
        rows = [row for row in rows if row["part"] != part or row["step"] <= step]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(map(_line, rows)))
        partial.replace(path)
        self._file = path.open("a")
        self._events = _event_writer(path.parent / "events" / part, step)

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        if self._file is not None:
            row = {"part": self._part, "step": step, "epoch": round(epoch, 4), **values}
            self._file.write(_line(row))
            self._file.flush()
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)


def read_metrics(path: Path, part: str) -> list[dict[str, Any]]:
    """One part's rows of a metrics.jsonl."""
    return [row for row in _rows(path) if row.pop("part") == part]


def _line(row: Mapping[str, Any]) -> str:
    values = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
    return json.dumps(values, allow_nan=False) + "\n"


def _rows(path: Path) -> list[dict[str, Any]]:
    """All rows, except an incomplete last line that a killed run left."""
    rows = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            row = json.loads(line)
            rows.append({name: math.nan if x is None else x for name, x in row.items()})
    return rows


def _event_writer(folder: Path, step: int) -> Any:
    """A TensorBoard writer that hides events after `step`, or None without the "tensorboard" extra."""
    if importlib.util.find_spec("tensorboardX") is None:
        return None
    from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

    return SummaryWriter(str(folder), purge_step=step + 1)
