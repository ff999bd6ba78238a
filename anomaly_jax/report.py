"""The results and plots of a finished run."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any, Literal

import jax
import numpy as np

from anomaly_jax import metrics, plots, tables
from anomaly_jax.config import AnomalyConfig
from anomaly_jax.data.image_set import GOOD
from anomaly_jax.data.load import Part, Parts
from anomaly_jax.groups import GroupedScores, count_groups
from anomaly_jax.predictor import Detections
from anomaly_jax.scores_file import write_scores
from anomaly_jax.thresholds import GOOD_ONLY
from anomaly_jax.training import NAME, TrainedDetector
from engine_jax.experiment import Run, log_report, provenance, training_summary
from engine_jax.pictures import drawing
from engine_jax.plots import loss_curves, save
from engine_jax.run_folder import RunFolder
from engine_jax.writer import read_metrics

_SHOWN = 4  # images of each defect in its picture
_PIXELS = 200_000  # of each histogram


def write_report(run: Run[AnomalyConfig, Parts], trained: TrainedDetector) -> dict[str, Any]:
    """Scores the test part, writes results.json and the plots, prints the tables."""
    settings, parts, folder = run.settings, run.parts, run.folder
    test, found, fitted = parts.test.images, trained.test.found, trained.fitted
    grid = {f"{t:g}": t for t in settings.thresholds.grid}
    pixel = grid | _known({GOOD_ONLY: trained.good_only.pixel})
    maps = trained.test.maps
    grouped = count_groups(
        maps,
        parts.test.masks,
        found.scores,
        [test.defect_names[i] for i in test.defects],
        thresholds=[*pixel.values()],
        has_mask=test.labelled,
    )
    score = metrics.score(
        grouped,
        pixel,
        _known({GOOD_ONLY: trained.good_only.image}),
        resamples=settings.evaluation.bootstrap,
        seed=settings.seed,
    )
    results = {
        **provenance(run),
        "dataset": settings.data.name,
        "method": settings.method,
        "members": settings.members,
        "input_size": settings.model.input_size,
        "splits": parts.sizes(),
        **training_summary(fitted, settings.members),
        **score,
        "thresholds": {
            "grid": list(settings.thresholds.grid),
            GOOD_ONLY: asdict(trained.good_only),
            "promise": {**asdict(trained.promise), "band": list(trained.promise.band)},
        },
        "not_tested": tables.untested(score),
    }
    if jax.process_index() == 0:  # Every process predicts; one of them draws and writes.
        # results.json says that the run is finished, so it comes last.
        write_scores(folder.path / "scores.csv", parts.test, maps, found.scores, trained.good_only)
        folder.write_results(results)
        if run.pictures:
            if not settings.by_features and not settings.start:
                defects = [*grouped.defects_with_masks]
                _write_history(folder, settings, defects, fitted.best_epoch)
            _write_rankings(folder, grouped)
            _write_histograms(folder, parts, trained, score)
            _write_detections(folder, parts.test, found, pixel)
        tested = (
            tables.ranking_table(results, GOOD_ONLY),
            tables.accuracy_table(results, [*pixel]),
            tables.decision_table(results, GOOD_ONLY),
        )
        log_report(
            folder,
            *(tested if len(test) else ()),
            *map(tables.untested_lines, filter(None, [results["not_tested"]])),
            tables.promise_lines(trained.promise, settings.thresholds, settings.averaged),
        )
    return results


def _write_history(
    folder: RunFolder, settings: AnomalyConfig, defects: list[str], best_epoch: float
) -> None:
    """The loss, and recall, precision and accuracy of each defect, by epoch."""
    with drawing(folder.plots / "loss.png") as path:
        save(loss_curves(read_metrics(folder.metrics, NAME)), path)
    grid = [f"{t:g}" for t in settings.thresholds.grid]
    if defects and grid:
        with drawing(folder.plots / "accuracies.png") as path:
            history = read_metrics(folder.metrics, NAME)
            save(plots.accuracies_by_epoch(history, defects, grid, best_epoch), path)


def _write_rankings(folder: RunFolder, grouped: GroupedScores) -> None:
    """ROC, per-region overlap and precision-recall of each defect's pixels, and of all."""
    if defects := grouped.defects_with_masks:
        with drawing(folder.plots / "curves.png") as path:
            counts = {"all": grouped.all.pixel, **{name: g.pixel for name, g in defects.items()}}
            save(plots.ranking_curves(counts), path)


def _write_histograms(
    folder: RunFolder, parts: Parts, trained: TrainedDetector, score: Mapping[str, Any]
) -> None:
    """Scores of images and of pixels, good and faulty, with the thresholds from good images and of best F1."""
    test, found, held_out = parts.test.images, trained.test.found, trained.validation.found
    kinds = {name: test.defects == i for i, name in enumerate(test.defect_names)}
    good = kinds.pop(GOOD)
    images = {
        "good": {"held-out good": held_out.scores, "test good": found.scores[good]},
        "faulty": {name: found.scores[chosen] for name, chosen in kinds.items()},
    }
    pixels = {
        "good": {"held-out good": held_out.maps, "test good": found.maps[good]},
        "faulty": {name: found.maps[chosen][test.masks[chosen]] for name, chosen in kinds.items()},
    }
    levels: dict[Literal["image", "pixel"], Any] = {"image": images, "pixel": pixels}
    for level, groups in levels.items():
        lines = {
            GOOD_ONLY: getattr(trained.good_only, level),
            "oracle": score[f"{level}_oracle"]["threshold"],
        }
        good, faulty = (
            {name: _sample(scores) for name, scores in of.items()} for of in groups.values()
        )
        with drawing(folder.plots / f"{level}_scores.png") as path:
            save(plots.score_histograms(good, faulty, _known(lines), level), path)


def _write_detections(
    folder: RunFolder, part: Part, found: Detections, thresholds: dict[str, float]
) -> None:
    """Detections in a few images of each kind, spread over the part, and in the first image of every kind."""
    test = part.images

    def write(chosen: np.ndarray, title: str, name: str) -> None:
        with drawing(folder.plots / name) as path:
            figure = plots.detections(
                test.images[chosen],
                None if found.reconstructions is None else found.reconstructions[chosen],
                found.maps[chosen],
                [test.masks[i] if test.labelled[i] else None for i in chosen],
                thresholds,
                [_caption(part.names[i]) for i in chosen],
                title,
            )
            save(figure, path)

    first = []
    for kind, name in enumerate(test.defect_names):
        indices = np.flatnonzero(test.defects == kind)
        if not len(indices):
            continue
        first.append(indices[0])
        chosen = np.unique(indices[np.linspace(0, len(indices) - 1, _SHOWN).round().astype(int)])
        write(chosen, name, f"detections_{name}.png")
    if first:
        write(np.array(first), "the first image of each kind", "detections.png")


def _caption(name: str) -> str:
    """test/bent_lead/000.png -> bent_lead/000; the name of a rendered image stays as it is."""
    path = PurePosixPath(name)
    return f"{path.parent.name}/{path.stem}" if path.parent.name else name


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    """The values that are not None; without faulty images, for example, there is no oracle threshold."""
    return {name: value for name, value in values.items() if value is not None}


def _sample(scores: np.ndarray) -> np.ndarray:
    """At most `_PIXELS` of the scores, evenly spread."""
    scores = np.ravel(scores)
    return scores[:: -(-len(scores) // _PIXELS) or 1]
