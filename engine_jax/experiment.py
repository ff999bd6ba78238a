"""What every task's training program does before and after training."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from jax.sharding import Mesh

from engine_jax.config import from_mapping
from engine_jax.devices import all_devices
from engine_jax.errors import UserError
from engine_jax.loop import Fit, check_resumable
from engine_jax.run_folder import RunFolder, Schema


class Sized(Protocol):
    """Data in parts."""

    def sizes(self) -> Mapping[str, int]:
        """Images of each part."""
        ...


C = TypeVar("C")
P = TypeVar("P", bound=Sized)

_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


@dataclass(frozen=True)
class Experiment(Generic[C]):
    """A run of a task, new, interrupted or finished.

    Attributes:
        schema: of the task.
        settings: the run's configuration.
        folder: the run's folder.
        results: what results.json holds if the run is finished, isn't to be trained further, and its pictures aren't to
            be drawn again; else None.
        pictures: whether the report draws pictures.
    """

    schema: Schema[C]
    settings: C
    folder: RunFolder
    results: dict[str, Any] | None
    pictures: bool = True

    @contextmanager
    def started(self, title: str, parts: P, mesh: Mesh) -> Iterator["Run[C, P]"]:
        """Inside, the run's folder is begun or continued, and no other process may run in it.

        It comes after the data are known to be usable.

        Args:
            title: what is trained on.
            parts: the data.
            mesh: the devices.
        """
        sizes = ", ".join(f"{size} {name}" for name, size in parts.sizes().items())
        logging.info("%s: %s images", title, sizes)
        try:
            self.folder.start(self.schema, self.settings)
            if mesh.size < (count := len(all_devices())):
                logging.info(
                    "%d of %d devices are used: training can't be divided evenly among more",
                    mesh.size,
                    count,
                )
            yield Run(self.settings, parts, mesh, self.folder, self.pictures)
        finally:
            self.folder.stop()


@dataclass(frozen=True)
class Run(Generic[C, P]):
    """What a run's networks are trained with.

    Attributes:
        settings: the run's configuration.
        parts: the data to train on, to choose parameters by, and to test on.
        mesh: the devices.
        folder: the run's folder.
        pictures: whether the report draws pictures.
    """

    settings: C
    parts: P
    mesh: Mesh
    folder: RunFolder
    pictures: bool = True


def open_experiment(
    schema: Schema[C],
    config: Mapping[str, Any],
    workdir: str | Path,
    redraw: bool = False,
    pictures: bool = True,
) -> Experiment[C]:
    """Checks a configuration and the folder that its run is in, or will be in.

    Args:
        schema: of the task.
        config: the values of its config file.
        workdir: the run's folder.
        redraw: takes a finished run for one whose report isn't written, so that its pictures are drawn again.
        pictures: whether the report draws pictures.

    Raises:
        UserError: a value that isn't accepted, or a folder that holds something else.
    """
    settings = from_mapping(schema.config, config)
    folder = RunFolder(workdir)
    folder.check(schema, settings)
    results = None
    try:
        results = folder.read_results()
    except UserError as error:
        logging.warning("%s; the results are computed again", error)
    if results is not None and folder.grows(schema, settings):
        check_resumable(folder)  # Before the results are removed.
        results = None
    elif results is not None and redraw:
        results = None
    elif results is not None:
        logging.info("%s: this run is finished; --redraw draws its pictures again", folder.path)
    return Experiment(schema, settings, folder, results, pictures)


def provenance(run: Run[Any, Any]) -> dict[str, Any]:
    """The part of results.json on what produced it: configuration, seed, device and versions."""
    settings = run.settings
    return {
        "task": settings.task,
        "preset": settings.preset,
        "seed": settings.seed,
        "device": f"{run.mesh.size} x {run.mesh.devices.flat[0].device_kind}",
        "versions": {package: version(package) for package in _PACKAGES},
    }


def training_summary(fitted: Fit, networks: int = 1) -> dict[str, Any]:
    """The part of results.json on how a network was trained; of several side by side, `parameters` is one's."""
    return {
        "parameters": fitted.best.parameter_count // networks,
        "epochs": fitted.epochs,
        "best_epoch": fitted.best_epoch,
        "seconds": round(fitted.seconds, 1),
        "images_per_second": round(fitted.images_per_second, 1),
    }


def log_report(folder: RunFolder, *tables: str) -> None:
    """Prints a finished run's tables, and where its results and pictures are."""
    for table in tables:
        logging.info("\n%s", table)
    drawn = f", pictures in {folder.plots}" if any(folder.plots.iterdir()) else ""
    logging.info("\nresults in %s%s", folder.path / "results.json", drawn)
