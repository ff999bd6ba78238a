"""Times evaluations with all their scores beside the forward passes alone.

    python -m benchmarks.evaluation pose --lsp DIR [--images 1000] [--turns 2] [--json FILE]
    python -m benchmarks.evaluation anomaly [--preset discriminative] [--images 1000] [--turns 2] [--json FILE]

Networks have random weights. "pose" is the preset `small` on the last images of Leeds Sports Pose in the folder DIR:
all three stages, each on the poses of the one before, with every score of results.json and its bootstrap intervals.
"anomaly" is the test of a preset on rendered nuts, with every score of results.json likewise. "Evaluation" is what
training does with its test part, from arrays on the host to the scores, in padded batches; "forward passes" are the
same compiled calls on the same batches, which lie on the device, and whose results nobody reads; "scores" are what is
made of the results, beside the forward passes. The ratio to reach is that of the forward passes to the evaluation.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

from anomaly_jax import metrics
from anomaly_jax.config import AnomalyConfig
from anomaly_jax.data.load import load_parts
from anomaly_jax.detector import Detector
from anomaly_jax.groups import count_groups
from anomaly_jax.predictor import Predictor as AnomalyPredictor
from anomaly_jax.whole_images import PartDetections, detect_part
from benchmarks.table import in_turns, show_times
from configs import anomaly, pose
from deeppose_jax.config import PoseConfig
from deeppose_jax.data.lsp import open_lsp
from deeppose_jax.data.parts import prepare_part
from deeppose_jax.epoch_metrics import part_scores
from deeppose_jax.predictor import Predictions, Predictor
from deeppose_jax.skeleton import LSP
from deeppose_jax.stages import stage_network
from engine_jax import cli, sharding
from engine_jax.batches import Batches
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.state import Variables, create_state, graph_defs

Timed = Callable[[], Any]


class Work(NamedTuple):
    """An evaluation in its parts.

    Attributes:
        found: what `predict` returns.
        predict: applies the networks to all images.
        scores: of what was found.
        forward: the forward passes alone; returns arrays that are still computed.
    """

    found: Any
    predict: Timed
    scores: Callable[[Any], Any]
    forward: Timed


def pose_work(lsp: Path, images: int) -> Work:
    """`small`'s three stages."""
    settings = from_mapping(PoseConfig, pose.get_config("small").to_dict())
    records = open_lsp(lsp, settings.data.labels)
    chosen = [records[i] for i in range(len(records) - images, len(records))]
    part = prepare_part(chosen, settings.data, settings.data.test_box)
    mesh = sharding.device_mesh(joint=1)
    stages: list[tuple[Predictor, Variables]] = []
    for number in range(1, settings.stages + 1):
        build = partial(stage_network, settings.stage(number), LSP.num_joints)
        predictor = Predictor(
            graph_defs(build).evaluate, settings.stage(number), settings, LSP, mesh
        )
        stages.append((predictor, _variables(build, mesh)))

    def predict() -> list[Predictions]:
        found: list[Predictions] = []
        for predictor, variables in stages:
            found.append(predictor(variables, part.poses, found[-1].stage if found else None))
        return found

    def scores(found: list[Predictions]) -> list[dict[str, Any]]:
        evaluation = settings.evaluation
        return [
            part_scores(
                *(stage, part.poses, part.people, LSP, evaluation.thresholds),
                resamples=evaluation.bootstrap,
                seed=settings.seed,
            )
            for stage in found
        ]

    first = predict()
    before = [None, *(stage.stage for stage in first[:-1])]
    batches = [
        predictor.batches(part.poses, previous)
        for (predictor, _), previous in zip(stages, before, strict=True)
    ]

    def forward() -> list[Any]:
        return [
            predictor._step(variables, *batch)
            for (predictor, variables), of_stage in zip(stages, batches, strict=True)
            for batch, _ in of_stage
        ]

    return Work(first, predict, scores, forward)


def anomaly_work(preset: str, images: int) -> Work:
    """A detector's test on rendered nuts, as many of each kind."""
    config = anomaly.get_config(preset)
    config.data.test = images // 5
    settings = from_mapping(AnomalyConfig, config.to_dict())
    part = load_parts(settings.data, settings.model.input_size, settings.seed).test
    build, mesh = partial(Detector, settings.detector), sharding.device_mesh()
    predictor = AnomalyPredictor(graph_defs(build).evaluate, settings, mesh)
    variables = _variables(build, mesh, settings.members)
    grid = {f"{t:g}": t for t in settings.thresholds.grid}

    def predict() -> PartDetections:
        return detect_part(
            lambda squares, numbers: predictor.detect(variables, squares),
            part,
            settings.scoring,
            settings.evaluation.batch_size,
            own_scores=False,
        )

    def scores(found: PartDetections) -> dict[str, Any]:
        test = part.images
        defects = [test.defect_names[i] for i in test.defects]
        grouped = count_groups(
            found.maps, part.masks, found.found.scores, defects, thresholds=[*grid.values()]
        )
        resamples = settings.evaluation.bootstrap
        return metrics.score(grouped, grid, resamples=resamples, seed=settings.seed)

    squares, _ = part.squares()
    batches = Batches(squares, settings.evaluation.batch_size, sharding.split(mesh))

    def forward() -> list[Any]:
        folds = jax.numpy.full(settings.evaluation.batch_size, -1, jax.numpy.int32)
        return [predictor._detect(variables, batch, folds) for batch, _ in batches]

    return Work(predict(), predict, scores, forward)


def _variables(build: Callable[..., Any], mesh: Any, stack: int | None = None) -> Variables:
    everywhere = sharding.replicated(mesh)
    return create_state(build, optax.identity(), jax.random.key(0), everywhere, stack).variables


def _seconds(function: Timed) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def main(args: argparse.Namespace) -> None:
    if args.work == "pose":
        if args.lsp is None:
            raise UserError("--lsp: accepted: the folder of Leeds Sports Pose")
        work, name = pose_work(args.lsp, args.images), "small, three stages"
    else:
        work, name = anomaly_work(args.preset, args.images), args.preset
    forms: dict[str, Timed] = {
        "evaluation": lambda: work.scores(work.predict()),
        "forward passes": work.forward,
        "scores": lambda: work.scores(work.found),
    }
    seconds = in_turns({n: partial(_seconds, form) for n, form in forms.items()}, args.turns)
    title = f"{args.work}, {name}, {args.images} images, {args.turns} turns"
    show_times(title, seconds, "evaluation", args.json)


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluation", description=(__doc__ or "").splitlines()[0]
    )
    command.add_argument("work", choices=("pose", "anomaly"))
    command.add_argument("--lsp", type=Path, help="the folder of Leeds Sports Pose, for pose")
    command.add_argument("--preset", default="discriminative", help="of anomaly")
    command.add_argument("--images", type=int, default=1000)
    command.add_argument("--turns", type=int, default=2)
    command.add_argument("--json", type=Path, help="a file to write the times to")
    return command


if __name__ == "__main__":
    cli.run(main, parser())
