"""What a finished run leaves behind: results.json and its plots."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from classify_jax import metrics, plots, tables
from classify_jax.config import ClassificationConfig
from classify_jax.data.image_set import ImageSet
from classify_jax.data.load import Parts
from classify_jax.predictor import Outputs
from classify_jax.training import NAME, TrainedClassifier
from classify_jax.views import views
from engine_jax.experiment import Run, log_report, provenance, training_summary
from engine_jax.phases import history
from engine_jax.pictures import drawing
from engine_jax.plots import loss_curves, save
from engine_jax.run_folder import RunFolder
from engine_jax.state import Variables

_SHOWN = 24  # images of a picture of examples


def write_report(
    run: Run[ClassificationConfig, Parts], trained: TrainedClassifier
) -> dict[str, Any]:
    """Scores the test part, writes results.json and the plots, prints the tables."""
    settings, parts, folder = run.settings, run.parts, run.folder
    test, found, fitted = parts.test, trained.test, trained.fitted
    evaluation, size = settings.evaluation, settings.model.input_size
    floor = np.tile(parts.train.counts / len(parts.train), (len(test), 1))
    score = metrics.score(
        found.probabilities,
        test.labels,
        test.class_names,
        resamples=evaluation.bootstrap,
        seed=settings.seed,
    )
    results = {
        **provenance(run),
        "dataset": settings.data.title,
        "model": settings.model.name,
        "input_size": size,
        "classes": list(test.class_names),
        "splits": parts.sizes(),
        **training_summary(fitted),
        **score,
        "views": len(views(settings.data.size, size, evaluation.crops, evaluation.mirror)),
        "single_view": metrics.top_errors(trained.single.probabilities, test.labels),
        "floor": metrics.top_errors(floor, test.labels),
    }
    if jax.process_index() == 0:  # Every process predicts; one of them draws and writes.
        folder.write_results(results)
        if run.pictures:
            _write_history(folder, settings, fitted.best_epoch)
            _write_examples(folder, test, found)
            _write_confusion(folder, results)
            _write_filters(folder, fitted.best)
        log_report(folder, tables.error_table(results), tables.class_table(results))
    return results


def _write_confusion(folder: RunFolder, results: Mapping[str, Any]) -> None:
    with drawing(folder.plots / "confusion.png") as path:
        save(plots.confusion(np.array(results["confusion"]), results["classes"]), path)


def _write_filters(folder: RunFolder, best: Variables) -> None:
    """The filters of the first convolution, if it is on the image's three channels."""
    kernel = first_kernel(best)
    if kernel is not None:
        with drawing(folder.plots / "filters.png") as path:
            save(plots.filters(kernel), path)


def first_kernel(variables: Variables) -> Float[np.ndarray, "k k 3 o"] | None:
    """The filters of the convolution on the image's three channels, or None in a network without one."""
    for leaf in jax.tree.leaves(variables):
        if leaf.ndim == 4 and leaf.shape[2] == 3 and leaf.shape[0] > 1:
            return np.asarray(leaf)
    return None


def _write_history(folder: RunFolder, settings: ClassificationConfig, best_epoch: float) -> None:
    """The loss and the errors by epoch."""
    names = settings.transfer.phase_names(NAME)
    with drawing(folder.plots / "loss.png") as path:
        save(loss_curves(history(folder.metrics, names)), path)
    with drawing(folder.plots / "accuracy.png") as path:
        save(plots.accuracy_curves(history(folder.metrics, names), best_epoch), path)


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
        if not len(chosen):
            continue
        with drawing(folder.plots / f"{name}.png") as path:
            figure = plots.examples(
                test.images[chosen],
                found.probabilities[chosen],
                test.labels[chosen],
                test.class_names,
                title,
            )
            save(figure, path)
