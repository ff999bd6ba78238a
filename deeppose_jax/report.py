"""What a finished run leaves behind: results.json and its plots."""

import io
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy.io import savemat

from deeppose_jax import metrics, plots, published, tables
from deeppose_jax.config import PoseConfig
from deeppose_jax.crops import Border, crop_boxes
from deeppose_jax.data.parts import Part, Parts
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.epoch_metrics import part_scores
from deeppose_jax.mean_pose import mean_pose_predictions
from deeppose_jax.oks import joint_sigmas
from deeppose_jax.predictor import Predictions, to_image_pixels
from deeppose_jax.refiner_boxes import to_frame
from deeppose_jax.scale_factors import expected_and_seen
from deeppose_jax.skeleton import Skeleton
from deeppose_jax.training import TrainedStage
from engine_jax.experiment import Run, log_report, provenance, training_summary
from engine_jax.files import make_folder, write_file
from engine_jax.phases import history
from engine_jax.pictures import drawing
from engine_jax.plots import loss_curves, save
from engine_jax.run_folder import RunFolder

_GRID = 20  # images in a grid of poses
_ROWS = 5  # images that are shown stage by stage
_CURVE = tuple(np.round(np.arange(0.02, 0.51, 0.02), 2).tolist())  # thresholds of the PDJ curve


def write_report(run: Run[PoseConfig, Parts], stages: Sequence[TrainedStage]) -> dict[str, Any]:
    """Scores every stage on the test part, writes results.json and the plots, prints the tables."""
    settings, parts, folder = run.settings, run.parts, run.folder
    test, skeleton = parts.test.poses, parts.skeleton
    floor = mean_pose_predictions(parts)
    known = np.isfinite(floor.joints).all(-1)

    def score(found: Predictions, poses: PoseSet = test) -> dict[str, Any]:
        return part_scores(
            found,
            poses,
            parts.test.people,
            skeleton,
            settings.evaluation.thresholds,
            resamples=settings.evaluation.bootstrap,
            seed=settings.seed,
        )

    entries = [
        {
            "stage": stage.config.number,
            **training_summary(stage.fitted),
            **score(stage.calibrated("test")),
            "scales": _scales(stage.calibrated("test"), test),
        }
        for stage in stages
    ]
    results = {
        **provenance(run),
        "dataset": settings.data.dataset,
        "labels": settings.data.labels,
        "split": settings.data.split,
        "splits": parts.sizes(),
        "joints": list(skeleton.joints),
        "oks_sigmas": None if parts.test.people is None else joint_sigmas(skeleton).tolist(),
        "stages": entries,
        "mean_pose": score(floor, replace(test, labelled=test.labelled & known)),
        "seconds": round(sum(stage.fitted.seconds for stage in stages), 1),
        "images_per_second": entries[min(settings.start.keep, len(stages) - 1)][
            "images_per_second"
        ],
    }
    if jax.process_index() == 0:  # Every process predicts; one of them draws and writes.
        _write_predictions(folder, stages, floor.joints)
        folder.write_results(results)
        if run.pictures:
            _write_scores(run, results)
            _write_pdj(run, stages, floor.joints)
            shown = parts.train.first(settings.evaluation.train_images)
            _write_poses(folder, "test", parts.test, stages[-1], skeleton)
            _write_poses(folder, "train", shown, stages[-1], skeleton)
            _write_cascade(run, stages)
        last = tables.score_table(entries[-1], results["mean_pose"])
        by_stage = tables.stages_table(entries, results["mean_pose"], skeleton.limb_parts)
        scales = tables.scale_lines(entries)
        log_report(
            folder, f"Stage {len(stages)} on test images\n{last}", "\n".join([by_stage, *scales])
        )
    return results


def _scales(found: Predictions, poses: PoseSet) -> dict[str, list[float | None]] | None:
    """By joint, in canvas pixels: the mean scale and the mean error that it is to be; None where none is labelled."""
    if found.stage.scales is None:
        return None
    expected, seen = expected_and_seen(found.stage, poses)
    pairs = {"expected_error": expected, "error": seen}
    return {
        name: [None if np.isnan(x) else round(float(x), 4) for x in values]
        for name, values in pairs.items()
    }


def _write_predictions(
    folder: RunFolder, stages: Sequence[TrainedStage], floor: np.ndarray
) -> None:
    """Each stage's poses on the test part, and the mean pose, as MATLAB files for evaluate.py."""
    make_folder(folder.predictions)
    found = {stage.config.name: stage.predictions["test"].joints for stage in stages}
    for name, joints in (found | {"mean_pose": floor}).items():
        pred = joints.transpose(2, 1, 0) + 1  # MATLAB's pixels start at 1.
        file = io.BytesIO()
        savemat(file, {"pred": pred})
        write_file(folder.predictions / f"{name}.mat", file.getvalue())


def _write_scores(run: Run[PoseConfig, Parts], results: dict[str, Any]) -> None:
    """Each stage's losses and scores by epoch, and PCP and PDJ by stage."""
    folder, floor = run.folder, results["mean_pose"]
    dotted = metrics.main_scores(floor, run.parts.skeleton)
    for stage in results["stages"]:
        config = run.settings.stage(stage["stage"])
        name = config.name
        if stage["stage"] <= run.settings.start.keep:
            continue  # It wasn't trained here.
        rows = history(folder.metrics, config.transfer.phase_names(name))
        with drawing(folder.plots / f"{name}_loss.png") as path:
            save(loss_curves(rows), path)
        if plots.measured(rows):
            with drawing(folder.plots / f"{name}_metrics.png") as path:
                save(plots.metric_curves(rows, dotted, stage["best_epoch"]), path)
    with drawing(folder.plots / "scores.png") as path:
        save(plots.scores_by_stage(results["stages"], floor), path)


def _write_pdj(
    run: Run[PoseConfig, Parts], stages: Sequence[TrainedStage], floor: np.ndarray
) -> None:
    """PDJ over thresholds, beside published methods where they were tested on the same images."""
    data, test, skeleton = run.settings.data, run.parts.test.poses, run.parts.skeleton
    if skeleton.torso is None:
        return  # There is no length to measure in.
    true = to_image_pixels(test.joints, test)

    def curve(joints: np.ndarray) -> tuple[tuple[float, ...], list[float]]:
        scores = metrics.score(joints, true, test.labelled, skeleton, _CURVE, resamples=0)
        totals = (row["total"] for row in scores["pdj"].values())
        return _CURVE, [np.nan if total is None else total for total in totals]

    reference = {}
    lsp = data.dataset in ("lsp", "lsp_and_extended") and not data.skeleton
    if lsp and data.split == "official":
        methods = [p for p in published.PUBLISHED if p.labels == data.labels]
        reference = {p.method: (published.PDJ_THRESHOLDS, p.pdj) for p in methods}
    curves = {
        f"stage {stage.config.number}": curve(stage.predictions["test"].joints) for stage in stages
    }
    if not (reference or test.labelled[:, list(skeleton.torso)].all(1).any()):
        return
    with drawing(run.folder.plots / "pdj.png") as path:
        save(plots.pdj_over_thresholds(curves, reference, curve(floor)), path)


def _write_poses(
    folder: RunFolder, name: str, part: Part, stage: TrainedStage, skeleton: Skeleton
) -> None:
    """A grid of images spread over the part, with true and predicted poses on their canvases."""
    chosen = _spread(part, _GRID)
    with drawing(folder.plots / f"poses_{name}.png") as path:
        figure = plots.pose_grid(
            list(part.poses.canvases[chosen]),
            part.poses.joints[chosen],
            stage.predictions[name].stage.joints[chosen],
            part.poses.labelled[chosen],
            skeleton,
            f"Poses on {name} images",
            names=[part.names[i] for i in chosen],
        )
        save(figure, path)


def _write_cascade(run: Run[PoseConfig, Parts], stages: Sequence[TrainedStage]) -> None:
    """Every stage's pose on some test images, the crops of one, and the errors that refiners are trained on."""
    if len(stages) == 1:
        return
    part, skeleton, plotted = run.parts.test, run.parts.skeleton, run.folder.plots
    test, chosen = part.poses, _spread(part, _ROWS)
    with drawing(plotted / "stages.png") as path:
        figure = plots.stages_row(
            list(test.canvases[chosen]),
            test.joints[chosen],
            [stage.predictions["test"].stage.joints[chosen] for stage in stages],
            test.labelled[chosen],
            skeleton,
            "Test images, stage by stage",
            names=[part.names[i] for i in chosen],
        )
        save(figure, path)
    for before, stage in itertools.pairwise(stages):
        with drawing(plotted / f"{stage.config.name}_crops.png") as path:
            save(_crops(part, int(chosen[0]), stage, run.settings.border, skeleton), path)
        with drawing(plotted / f"{stage.config.name}_displacements.png") as path:
            save(_clouds(run, before), path)


# Outside of a compiled program each of its operations would be compiled on its own.
_crop_boxes = jax.jit(crop_boxes, static_argnames=("size", "border"))


def _crops(
    part: Part, image: int, stage: TrainedStage, border: Border, skeleton: Skeleton
) -> Figure:
    found, test = stage.predictions["test"].stage, part.poses
    boxes = found.boxes[image]
    size = stage.config.model.input_size
    crops = _crop_boxes(test.canvases[image][None], boxes[None], size, border=border)[0]
    return plots.refiner_crops(
        np.clip(crops, 0, 1),
        np.asarray(to_frame(found.joints[image], boxes)),
        np.asarray(to_frame(test.joints[image], boxes)),
        test.labelled[image],
        skeleton,
        f"Crops of {part.names[image]} in stage {stage.config.number}",
    )


def _clouds(run: Run[PoseConfig, Parts], before: TrainedStage) -> Figure:
    skeleton, measured = run.parts.skeleton, before.measured
    assert measured is not None
    observed = measured.observed(skeleton)
    normal = measured.normals(skeleton)
    number = before.config.number
    return plots.displacement_clouds(
        {i: observed.deltas[:count, i] for i, count in enumerate(observed.counts)},
        normal.mean,
        normal.covariance,
        skeleton,
        f"Errors of stage {number} on {measured.part} images, which stage {number + 1} is trained to correct",
        run.settings.refiner.sigma,
    )


def _spread(part: Part, count: int) -> np.ndarray:
    """The indices of `count` images, evenly spread over a part."""
    return np.linspace(0, len(part.poses) - 1, min(count, len(part.poses))).astype(int)
