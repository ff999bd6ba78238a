"""A run's folder: what one training run writes, and the rule for starting it again."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import jax

from engine_jax import lock
from engine_jax.config import differences, from_mapping, to_mapping
from engine_jax.errors import UserError, reason
from engine_jax.files import (
    check_folder,
    check_regular,
    make_folder,
    read_file,
    user_path,
    write_file,
)

C = TypeVar("C")

# What is in a folder whose run was killed before config.json was written.
_BEGUN = (lock.NAME, "config.partial")

# Turns a stored configuration of one format into the next format.
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Schema(Generic[C]):
    """How the configurations of a task's runs are stored.

    A field that is added gets a default in `config`, which runs that were stored without it are read with. Any other
    change of the fields takes an upgrade, and so raises the format number.

    Attributes:
        task: the task's name, `config.task`.
        config: its dataclass.
        upgrades: from format 0 to 1, from 1 to 2, and so on.
        growing: names the fields of a configuration that may be larger than in its run's folder, so that its training
            goes on, such as "train.epochs"; None lets no field grow.
    """

    task: str
    config: type[C]
    upgrades: tuple[Upgrade, ...] = ()
    growing: Callable[[C], tuple[str, ...]] | None = None

    @property
    def format(self) -> int:
        """The format that runs are stored in today."""
        return len(self.upgrades)

    def to_stored(self, settings: C) -> dict[str, Any]:
        """What is stored of a configuration, with its format number."""
        return {"format": self.format, **to_mapping(settings)}

    def from_stored(self, stored: Mapping[str, Any], where: str, name: str) -> C:
        """The configuration of what `to_stored` gave, in this version or an earlier one.

        Args:
            stored: JSON.
            where: what to call the run in an error.
            name: what to call the file that `stored` is from.

        Raises:
            UserError: it is of another task, of a newer format, or damaged.
        """
        config = dict(stored)
        if (task := config.get("task")) != self.task:
            raise UserError(f"{name}: holds a run of the task {task!r}; accepted: {self.task!r}")
        number = config.pop("format", 0)
        if type(number) is not int or number < 0:
            raise UserError(f"{name}: format is {number!r}; accepted: a number from 0")
        if number > self.format:
            raise UserError(
                f"{where}: its format is {number!r}, written by a newer version; accepted: up to {self.format}"
            )
        try:
            for upgrade in self.upgrades[number:]:
                config = upgrade(config)
        except (AttributeError, LookupError, TypeError) as error:
            raise UserError(f"{name}: damaged, of format {number} ({error!r})") from error
        return from_mapping(self.config, config, f"{name}: config")

    def grown(self, stored: C, settings: C) -> C:
        """`stored` with the values of `settings` in the fields that may grow, where those are larger."""
        values, given = to_mapping(stored), to_mapping(settings)
        for name in self.growing(settings) if self.growing else ():
            *groups, field = name.split(".")
            there, here = values, given
            for group in groups:
                there, here = there[group], here[group]
            there[field] = max(there[field], here[field])
        return from_mapping(self.config, values)


class RunFolder:
    """`config.json`, `metrics.jsonl`, `checkpoints/`, `results.json`, `plots/`, `predictions/`, `log.txt`."""

    def __init__(self, path: Path | str):
        self.path = user_path(path)
        self.checkpoints = self.path / "checkpoints"
        self.plots = self.path / "plots"
        self.predictions = self.path / "predictions"
        self.metrics = self.path / "metrics.jsonl"
        self._log: logging.Handler | None = None

    def check(self, schema: Schema[C], settings: C) -> None:
        """Makes sure that the folder is free, or holds a run of this configuration, perhaps with fewer epochs.

        Raises:
            UserError: when it holds a run of another configuration (naming the fields that differ), an unfinished run
                of an older format, or other files; when another process is running there; or when the path can't be
                a folder.
        """
        if not check_folder(self.path):
            return
        if jax.process_index() == 0:  # Of several hosts one holds the lock.
            lock.check(self.path)
        if (self.path / "config.json").exists():
            stored = self.read_settings(schema)
            if differing := differences(schema.grown(stored, settings), settings):
                raise UserError(
                    f"{self.path}: holds a run of another config ({'; '.join(differing)}); "
                    "give the same config to resume it, or another --workdir"
                )
            grows = bool(differences(stored, settings))
            if self._format() < schema.format and (grows or not self.finished):
                state = "a run" if self.finished else "an unfinished run"
                raise UserError(
                    f"{self.path}: {state} that an earlier version began, whose random numbers were others; "
                    "give another --workdir to train it anew"
                )
        elif any(path.name not in _BEGUN for path in self.path.iterdir()):
            raise UserError(
                f"{self.path}: exists and is not a run's folder (no config.json); "
                "give another --workdir"
            )

    def grows(self, schema: Schema[C], settings: C) -> bool:
        """Whether the folder holds a run of fewer epochs, so that it is to be trained further; after `check`."""
        if not (self.path / "config.json").exists():
            return False
        return bool(differences(self.read_settings(schema), settings))

    def start(self, schema: Schema[C], settings: C) -> None:
        """Locks the folder, writes config.json, unless the run is resumed, and begins or continues log.txt.

        Of a run that is trained further the results and their pictures are removed.

        Raises:
            UserError: as `check` does, or when the folder can't be written to.
        """
        self.check(schema, settings)
        if jax.process_index():
            return  # One of several hosts writes.
        make_folder(self.path)
        lock.acquire(self.path)
        self.check(schema, settings)  # Another process may have begun in between.
        grows = self.grows(schema, settings)
        if grows:
            (self.path / "results.json").unlink(missing_ok=True)
            shutil.rmtree(self.plots, ignore_errors=True)
        if grows or not (self.path / "config.json").exists():
            write_json(self.path / "config.json", schema.to_stored(settings))
        make_folder(self.plots)
        log = self.path / "log.txt"
        try:
            if log.exists():
                check_regular(log)
            self._log = _LogFile(log)
        except OSError as error:
            raise UserError(f"{log}: can't be written ({reason(error)})") from error
        self._log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger().addHandler(self._log)

    def stop(self) -> None:
        """Ends what `start` began: the log, and the lock."""
        if self._log is not None:
            logging.getLogger().removeHandler(self._log)
            self._log.close()
            self._log = None
        lock.release(self.path)

    def read_settings(self, schema: Schema[C]) -> C:
        """The configuration that this folder's run was started with.

        Raises:
            UserError: when there is none, it can't be read, it is of another task, or of a newer format.
        """
        name = str(self.path / "config.json")
        return schema.from_stored(self._read_config(), str(self.path), name)

    def _format(self) -> int:
        return self._read_config().get("format", 0)

    def _read_config(self) -> dict[str, Any]:
        return read_json(
            self.path / "config.json", missing=f"{self.path}: not a run's folder (no config.json)"
        )

    def read_results(self) -> dict[str, Any] | None:
        """results.json, or None while the run is unfinished.

        Raises:
            UserError: when it holds no results.
        """
        path = self.path / "results.json"
        if not path.exists():
            return None
        results = read_json(path)
        if missing := [name for name in ("task", "seed") if name not in results]:
            raise UserError(f"{path}: damaged (no {missing[0]})")
        return results

    @property
    def finished(self) -> bool:
        """Whether results.json holds results."""
        try:
            return self.read_results() is not None
        except UserError:
            return False

    def read_finished(self) -> dict[str, Any]:
        """results.json.

        Raises:
            UserError: when the run is not finished.
        """
        results = self.read_results()
        if results is None:
            raise UserError(f"{self.path}: this run is not finished (no results.json)")
        return results

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Writes results.json, unless it is there: pictures that are drawn again don't change what was measured."""
        if not self.finished:
            write_json(self.path / "results.json", results)


class _LogFile(logging.FileHandler):
    """A log that a full disk cuts short, without a word: training goes on for as long as it can."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        del record


def read_json(path: Path, missing: str | None = None) -> dict[str, Any]:
    """Reads a JSON object; a UserError names the file when it is missing or holds anything else."""
    try:
        value = json.loads(read_file(path))
    except FileNotFoundError:
        raise UserError(missing or f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read ({reason(error)})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({reason(error)})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds {type(value).__name__}; accepted: a JSON object")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    write_file(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
