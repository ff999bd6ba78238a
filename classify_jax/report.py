"""What a finished run leaves behind: results.json and its plots."""

import logging
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from classify_jax import metrics, plots, tables
from classify_jax.config import ClassificationConfig
from classify_jax.data.image_set import ImageSet
from classify_jax.data.load import Parts
from classify_jax.predictor import Outputs
from classify_jax.training import TrainedClassifier, named_phases
from classify_jax.views import views
from convnets_jax.phases import history
from engine_jax.plots import loss_curves, save
from engine_jax.run_folder import RunFolder

_SHOWN = 24  # images of a picture of examples
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


def write_report(
    folder: RunFolder, settings: ClassificationConfig, parts: Parts, trained: TrainedClassifier
) -> dict[str, Any]:
    """Scores the test part, writes results.json and the plots, prints the tables; returns the results."""
    test, found, fitted = parts.test, trained.test, trained.fitted
    evaluation, size = settings.evaluation, settings.model.input_size
    score = metrics.score(
        found.probabilities,
        test.labels,
        test.class_names,
        resamples=evaluation.bootstrap,
        seed=settings.seed,
    )
    variables = (fitted.best.params, fitted.best.model_state)
    results = {
        "task": settings.task,
        "preset": settings.preset,
        "dataset": settings.data.title,
        "model": settings.model.name,
        "input_size": size,
        "classes": list(test.class_names),
        "splits": parts.sizes(),
        "parameters": _parameters(*variables),
        "epochs": fitted.epochs,
        "best_epoch": fitted.best_epoch,
        "seconds": round(fitted.seconds, 1),
        "images_per_second": round(fitted.images_per_second, 1),
        **score,
        "views": len(views(settings.data.size, size, evaluation.crops, evaluation.mirror)),
        "single_view": _errors(trained.single.probabilities, test),
        "floor": _errors(np.tile(parts.train.counts / len(parts.train), (len(test), 1)), test),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "seed": settings.seed,
        "versions": {package: version(package) for package in _PACKAGES},
    }
    if jax.process_index() == 0:  # Every process predicts; one of them draws and writes.
        _write_history(folder, settings, fitted.best_epoch)
        _write_examples(folder, test, found)
        matrix = np.array(results["confusion"])
        save(plots.confusion(matrix, test.class_names), folder.plots / "confusion.png")
        kernel = first_kernel(*variables)
        if kernel is not None:
            save(plots.filters(kernel), folder.plots / "filters.png")
        folder.write_results(results)
        logging.info("\n%s\n", tables.error_table(results))
        logging.info("%s\n", tables.class_table(results))
        logging.info("results in %s, pictures in %s", folder.path / "results.json", folder.plots)
    return results


def first_kernel(*variables: Any) -> Float[np.ndarray, "k k 3 o"] | None:
    """The filters that see the image's three channels, or None in a network without such a convolution."""
    for tree in variables:
        for leaf in jax.tree.leaves(tree):
            if leaf.ndim == 4 and leaf.shape[2] == 3 and leaf.shape[0] > 1:
                return np.asarray(leaf)
    return None


def _parameters(params: Any, model_state: Any) -> int:
    """The number of all parameters, frozen ones too."""
    frozen = nnx.filter_state(model_state, nnx.Param)
    return sum(leaf.size for leaf in jax.tree.leaves((params, frozen)))


def _errors(probabilities: np.ndarray, part: ImageSet) -> Mapping[str, float | None]:
    return {f"top{k}_error": metrics.top_error(probabilities, part.labels, k) for k in (1, 5)}


def _write_history(folder: RunFolder, settings: ClassificationConfig, best_epoch: float) -> None:
    """The loss and the errors by epoch."""
    rows = history(folder.metrics, named_phases(settings))
    save(loss_curves(rows), folder.plots / "loss.png")
    save(plots.accuracy_curves(rows, best_epoch), folder.plots / "accuracy.png")


def _write_examples(folder: RunFolder, test: ImageSet, found: Outputs) -> None:
    """Images spread over the test part, and the wrong ones that the network was most sure of."""
    wrong = np.flatnonzero(found.probabilities.argmax(1) != test.labels)
    sure = wrong[np.argsort(-found.probabilities[wrong].max(1), kind="stable")]
    spread = np.unique(np.linspace(0, len(test) - 1, _SHOWN).round().astype(int))
    for name, title, chosen in (
        ("examples", "Test images", spread),
        ("wrong", f"{len(wrong)} of {len(test)} test images are wrong; the surest ones", sure),
    ):
        chosen = chosen[:_SHOWN]
        if len(chosen):
            figure = plots.examples(
                test.images[chosen],
                found.probabilities[chosen],
                test.labels[chosen],
                test.class_names,
                title,
            )
            save(figure, folder.plots / f"{name}.png")
