"""A run's folder: what one training run writes, and the rule for starting it again."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from engine_jax.errors import UserError


class RunFolder:
    """`config.json`, `metrics.jsonl`, `checkpoints/`, `results.json`, `plots/`, `predictions/`, `log.txt`."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.plots = self.path / "plots"
        self.predictions = self.path / "predictions"
        self.metrics = self.path / "metrics.jsonl"

    def check(self, config: Mapping[str, Any]) -> None:
        """Makes sure that the folder is free, or holds a run of this very config.

        Raises:
            UserError: when it holds a run of another config (naming the fields that differ), or
                other files.
        """
        if (self.path / "config.json").exists():
            differing = _differences(self.read_config(), json.loads(json.dumps(config)))
            if differing:
                raise UserError(
                    f"{self.path}: holds a run of another config ({'; '.join(differing)}); "
                    "give the same config to resume it, or another --workdir"
                )
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UserError(
                f"{self.path}: exists and is not a run's folder (no config.json); "
                "give another --workdir"
            )

    def start(self, config: Mapping[str, Any]) -> None:
        """Writes config.json, unless the run is resumed, and begins or continues log.txt.

        Raises:
            UserError: as `check` does.
        """
        self.check(config)
        if jax.process_index():
            return  # One of several hosts writes.
        self.plots.mkdir(parents=True, exist_ok=True)
        if not (self.path / "config.json").exists():
            write_json(self.path / "config.json", config)
        handler = logging.FileHandler(self.path / "log.txt")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger().addHandler(handler)

    def read_config(self) -> dict[str, Any]:
        """The config that this folder's run was started with.

        Raises:
            UserError: when there is none, or it can't be read.
        """
        return read_json(
            self.path / "config.json", missing=f"{self.path}: not a run's folder (no config.json)"
        )

    def read_results(self) -> dict[str, Any] | None:
        """results.json, or None while the run is unfinished."""
        path = self.path / "results.json"
        return read_json(path) if path.exists() else None

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
        write_json(self.path / "results.json", results)


def read_json(path: Path, missing: str | None = None) -> dict[str, Any]:
    """Reads a JSON file; a UserError names it when it is missing or is not JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(missing or f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file whole or not at all, so that a killed run leaves no half file."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
    partial.replace(path)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "config") -> list[str]:
    """Lines such as "config.seed: 0 there, 1 here" for every field in which two configs differ."""
    found = []
    for name in [*old, *(name for name in new if name not in old)]:
        there, here = old.get(name, "missing"), new.get(name, "missing")
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            found += _differences(there, here, f"{path}.{name}")
        elif there != here:
            found.append(f"{path}.{name}: {there!r} there, {here!r} here")
    return found
