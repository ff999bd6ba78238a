"""Files of a run are damaged one at a time; then it is loaded, and resumed.

    python -m tests.soak damage

A try is right when what comes of it is what comes of the run as it was, or one line says what is wrong: an error that
a user can read and that names the file, or the folder of the checkpoint. Other numbers without a word, tracebacks, and
a start from scratch are wrong.
"""

import json
import logging
import random
import shutil
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

import classify_jax
from classify_jax.train import train_and_evaluate
from engine_jax.errors import UserError
from tests.classify_jax.settings import tiny_config
from tests.soak.small_run import PART, same

Damage = Callable[[Path, random.Random], None]


def _flip(path: Path, chance: random.Random) -> None:
    """One bit."""
    data = bytearray(path.read_bytes())
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _zero(path: Path, chance: random.Random) -> None:
    """A block of zeros."""
    data = bytearray(path.read_bytes())
    first = chance.randrange(len(data) + 1)
    data[first : first + 64] = bytes(len(data[first : first + 64]))
    path.write_bytes(data)


def _shorten(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data) + 1)])


def _empty(path: Path, chance: random.Random) -> None:
    del chance
    path.write_bytes(b"")


def _fill(path: Path, chance: random.Random) -> None:
    """Random bytes of the same number."""
    path.write_bytes(chance.randbytes(path.stat().st_size))


def _delete(path: Path, chance: random.Random) -> None:
    del chance
    path.unlink()


def _folder(path: Path, chance: random.Random) -> None:
    del chance
    path.unlink()
    path.mkdir()


def _written(text: str) -> Damage:
    def damage(path: Path, chance: random.Random) -> None:
        del chance
        path.write_text(text)

    return damage


DAMAGES: dict[str, Damage] = {
    "one bit": _flip,
    "zeros": _zero,
    "cut short": _shorten,
    "emptied": _empty,
    "random bytes": _fill,
    "deleted": _delete,
    "a folder": _folder,
}
TEXTS: dict[str, Damage] = {
    name: _written(text)
    for name, text in {
        "{}": "{}",
        "[]": "[]",
        "null": "null",
        "a number": "3",
        "nested": "[" * 100_000,
        "not UTF-8": "\udcff".encode("utf-8", "surrogatepass").decode("latin-1"),
        "two lines": "{}\n{}\n",
    }.items()
}


FILES = ("config.json", "metrics.jsonl", "results.json", "log.txt")


def run(
    tries: int = 20,
    kinds: Collection[str] = (*DAMAGES, *TEXTS),
    files: Collection[str] = FILES,
    seed: int = 0,
) -> list[str]:
    """Tries damages on `tries` files of checkpoints each, and on the other files; returns the failures."""
    logging.disable(logging.CRITICAL)
    chance, failures, counted = random.Random(seed), [], {}
    try:
        with tempfile.TemporaryDirectory() as name:
            case = _Case(Path(name))
            for kind in (kind for kind in DAMAGES if kind in kinds):
                for _ in range(tries):
                    for what, check in (("loaded", case.load), ("resumed", case.resume)):
                        _count(
                            counted,
                            failures,
                            f"checkpoints, {what}",
                            kind,
                            check(DAMAGES[kind], chance),
                        )
            for file in files:
                for kind in kinds:
                    found = case.other_file(file, (DAMAGES | TEXTS)[kind], chance)
                    _count(counted, failures, "other files", f"{file}, {kind}", found)
    finally:
        logging.disable(logging.NOTSET)
    for what, (right, all_) in counted.items():
        print(f"damage, {what}: {right} of {all_} right")
    return failures


def _count(counted: dict, failures: list, what: str, kind: str, failure: str | None) -> None:
    right, all_ = counted.get(what, (0, 0))
    counted[what] = (right + (failure is None), all_ + 1)
    if failure:
        failures.append(f"{what}: {kind}: {failure}")
        print(failures[-1], flush=True)


class _Case:
    """A finished run and an unfinished one, and copies of them to be damaged."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._finished, self._stopped = folder / "finished", folder / "stopped"
        self._config = tiny_config(
            train__epochs=3, train__patience=0, model__name="lenet5", model__input_size=32
        )
        self._results = _numbers(train_and_evaluate(self._config, self._finished))
        shutil.copytree(self._finished, self._stopped)
        # As if it had been killed in the last epoch.
        (self._stopped / "results.json").unlink()
        last = self._stopped / "checkpoints" / PART / "last"
        shutil.rmtree(max(last.iterdir(), key=lambda path: int(path.name)))
        self._image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
        self._expected = classify_jax.load(self._finished).predict(self._image)[0].probabilities

    def load(self, damage: Damage, chance: random.Random) -> str | None:
        """A file of a checkpoint of the finished run is damaged, which is then loaded."""
        copy = self._copy(self._finished)
        damage(_any_file(copy / "checkpoints", chance), chance)
        return self._loaded(copy, "checkpoints")

    def _loaded(self, copy: Path, damaged: str) -> str | None:
        try:
            found = classify_jax.load(copy).predict(self._image)[0].probabilities
        except UserError as error:
            return _unnamed(error, damaged)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None if np.array_equal(found, self._expected) else "other predictions"

    def resume(self, damage: Damage, chance: random.Random) -> str | None:
        """A file of a checkpoint of the unfinished run is damaged, which is then resumed."""
        copy = self._copy(self._stopped)
        damage(_any_file(copy / "checkpoints", chance), chance)
        return self._trained(copy)

    def _trained(self, copy: Path) -> str | None:
        try:
            found = _numbers(train_and_evaluate(self._config, copy))
        except UserError as error:
            return _unnamed(error, "checkpoints")
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if found != self._results:
            return "other results"
        return None if same(copy, self._finished) else "other losses or parameters"

    def other_file(self, name: str, damage: Damage, chance: random.Random) -> str | None:
        """A file beside the checkpoints is damaged; the run is loaded, and run again."""
        copy = self._copy(self._finished)
        damage(copy / name, chance)
        # Another number in results.json can't be told from the right one.
        accepted = [self._results]
        if name == "results.json" and (held := _object(copy / name)):
            accepted.append(_numbers(held))
        if failure := self._loaded(copy, name):
            return f"loaded: {failure}"
        # These are opened only where results are still to be written.
        if name in ("metrics.jsonl", "log.txt"):
            (copy / "results.json").unlink()
        try:
            found = _numbers(train_and_evaluate(self._config, copy))
        except UserError as error:
            failure = _unnamed(error, name)
            return failure and f"run again: {failure}"
        except Exception as error:
            return f"run again: {type(error).__name__}: {error}"
        return None if found in accepted else "run again: other results"

    def _copy(self, run: Path) -> Path:
        copy = self._folder / "copy"
        if copy.exists():
            shutil.rmtree(copy)
        shutil.copytree(run, copy)
        return copy


def _any_file(folder: Path, chance: random.Random) -> Path:
    return chance.choice(sorted(path for path in folder.rglob("*") if path.is_file()))


def _unnamed(error: UserError, damaged: str) -> str | None:
    """What is wrong with a line that says nothing of what was damaged."""
    return None if damaged in str(error) else f"nothing of {damaged} in: {error}"


def _object(path: Path) -> dict | None:
    """The object in a JSON file; None where it can't be read or holds something else."""
    try:
        held = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return held if isinstance(held, dict) else None


def _numbers(results: dict) -> dict:
    """Results without times."""
    return {
        name: value
        for name, value in results.items()
        if name not in ("seconds", "images_per_second")
    }
