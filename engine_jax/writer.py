"""Metrics on disk: one JSON object a line, and TensorBoard events where tensorboardX is installed."""

import importlib.util
import json
import logging
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

from engine_jax.errors import UserError, reason
from engine_jax.files import read_file, write_file

_EVERY = 1.0  # seconds between two blocks of rows, at least


class MetricsWriter:
    """Appends rows {"part": ..., "step": ..., "epoch": ..., name: value, ...} to a metrics.jsonl.

    A value that is not finite, which JSON doesn't have, is written as null and read as NaN. Rows reach the disk in
    blocks: by `flush`, and with the first row that comes a second or more after the last block.

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
        write_file(path, "".join(map(_line, rows)))
        self._path, self._file, self._flushed = path, path.open("a"), time.monotonic()
        self._events = _event_writer(path.parent / "events" / part, step)

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # Of a line that `write` failed at before.
                self._file.close()
        if self._events is not None:
            self._events.close()

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        if self._file is not None:
            row = {"part": self._part, "step": step, "epoch": round(epoch, 4), **values}
            try:
                self._file.write(_line(row))
            except OSError as error:
                raise self._unwritable(error) from error
            if time.monotonic() - self._flushed >= _EVERY:
                self.flush()
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        """Returns when all rows are in the file."""
        if self._file is not None:
            self._flushed = time.monotonic()
            try:
                self._file.flush()
            except OSError as error:
                raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self._path}: can't be written ({reason(error)})")


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
    """All rows, except an incomplete last line that a killed run left and lines that are damaged, which is said."""
    try:
        lines = read_file(path).splitlines(keepends=True)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({reason(error)})") from error
    complete = [line for line in lines if line.endswith(b"\n")]
    rows = [row for row in map(_row, complete) if row is not None]
    if len(rows) < len(complete):
        logging.warning(
            "%s: %d of %d lines are damaged and left out",
            path,
            len(complete) - len(rows),
            len(complete),
        )
    return rows


def _row(line: bytes) -> dict[str, Any] | None:
    """A line of a metrics.jsonl, or None if it isn't one."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not (isinstance(row, dict) and isinstance(row.get("part"), str)):
        return None
    if not all(type(row.get(name)) in (int, float) for name in ("step", "epoch")):
        return None
    values = (value for name, value in row.items() if name != "part")
    if not all(value is None or type(value) in (int, float) for value in values):
        return None
    return {name: math.nan if value is None else value for name, value in row.items()}


def _event_writer(folder: Path, step: int) -> Any:
    """A TensorBoard writer that hides events after `step`, or None without the "tensorboard" extra."""
    if importlib.util.find_spec("tensorboardX") is None:
        return None
    from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

    return SummaryWriter(str(folder), purge_step=step + 1)
