"""Times training on photos beside the same step on one fixed batch.

    python -m benchmarks.training_loop --lsp DIR [--images 1000] [--steps 20] [--turns 5] [--json FILE]

Stage 1 of the pose preset `small`: 128 px, batch 16. DIR is the folder of Leeds Sports Pose. "Training" is the train
call of a run as its loop uses it: an order of the images is drawn for each epoch, their batches are gathered from the
data set on the "device" or sent from the host in a "stream", and each call's loss is read when the next one is sent,
and written to metrics.jsonl. "Step on one batch" is the same compiled step on a batch that lies on the device, whose
losses nobody reads. It holds augmentation and crops, which are part of the step; "network on ready crops" is a step
without these: forward, backward and AdamW. Each takes so many steps a turn; the times are those of one of them, and
ratios below 1 are what training adds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx

from benchmarks.table import in_turns, show_times
from configs.pose import get_config
from deeppose_jax.augment import augmented_samples
from deeppose_jax.config import PoseConfig
from deeppose_jax.data.lsp import open_lsp
from deeppose_jax.data.parts import prepare_part
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.skeleton import LSP
from deeppose_jax.stages import stage_network
from deeppose_jax.train_step import train_step
from engine_jax import cli, sharding
from engine_jax.config import from_mapping
from engine_jax.feed import make_train_call
from engine_jax.late_losses import LateLosses
from engine_jax.loop import TrainCall
from engine_jax.optimizer import make_optimizer
from engine_jax.plan import Plan, make_plan
from engine_jax.state import TrainState, create_state, graph_defs
from engine_jax.writer import MetricsWriter

Steps = Callable[[], float]  # takes the steps of a turn and returns the seconds of one
Taken = Callable[[TrainState, Any], tuple[TrainState, jax.Array]]


class Stage:
    """Stage 1 of `small` with random weights, on some images."""

    def __init__(self, poses: PoseSet):
        self.settings = from_mapping(PoseConfig, get_config("small").to_dict())
        stage = self.settings.stage(1)
        self.poses, self.mesh = poses, sharding.device_mesh(stage.train.batch_size)
        self.everywhere = sharding.replicated(self.mesh)
        self.plan: Plan = make_plan(stage.train, 1, len(poses), self.mesh)
        self.optimizer = make_optimizer(stage.optimizer, self.plan.steps)
        self.build = partial(stage_network, stage, LSP.num_joints)
        self.graphdef = graph_defs(self.build).train
        self.step = partial(
            train_step,
            graphdef=self.graphdef,
            optimizer=self.optimizer,
            settings=self.settings,
            skeleton=LSP,
            key=jax.random.key(1),
        )

    def state(self) -> TrainState:
        """A new one: steps take it for theirs."""
        return create_state(self.build, self.optimizer, jax.random.key(0), self.everywhere)

    def train_call(self, placement: Literal["device", "stream"]) -> TrainCall:
        """As in a run."""
        split = sharding.split(self.mesh, axis=1)
        where = self.everywhere, split
        return make_train_call(self.step, self.poses, placement, self.plan, [0], *where)

    def batch(self) -> PoseSet:
        """The first images, on the device."""
        first = jax.tree.map(lambda array: array[: self.plan.batch_size], self.poses)
        return jax.device_put(first, self.everywhere)

    def samples(self) -> tuple[jax.Array, ...]:
        """The network's inputs, targets and labelled joints of `batch`."""
        size, augment = self.settings.model.input_size, self.settings.augment
        return augmented_samples(jax.random.key(2), self.batch(), size, augment, LSP)

    def network_step(
        self, state: TrainState, samples: tuple[jax.Array, ...]
    ) -> tuple[TrainState, jax.Array]:
        """Forward, backward and the optimiser's update."""
        inputs, targets, labelled = samples

        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            model = nnx.merge(self.graphdef, params, state.model_state, copy=True)
            estimate = model(inputs, nnx.Rngs(dropout=3))
            loss = model.loss(estimate, targets, labelled).mean()
            return loss, nnx.state(model, nnx.Not(nnx.Param))

        (loss, model_state), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        return state.apply_gradients(self.optimizer, grads, model_state), loss


def training(stage: Stage, placement: Literal["device", "stream"], steps: int, file: Path) -> Steps:
    """As `engine_jax.loop.fit` trains between two evaluations; the rows of the losses go to `file`."""
    state, train_call, done = stage.state(), stage.train_call(placement), 0
    writer = MetricsWriter(file, placement)

    def log(before: int, losses: np.ndarray) -> None:
        for number, loss in enumerate(losses.tolist(), before + 1):
            writer.write(number, number / stage.plan.steps_per_epoch, {"train/loss": loss})

    def timed() -> float:
        nonlocal state, done
        losses, first, start = LateLosses(log), done, time.perf_counter()
        with jax.transfer_guard("disallow"):
            while done < first + steps:
                state, found = train_call(state, done)
                losses.add(done, found)
                done += len(found)
            losses.read()
        return (time.perf_counter() - start) / (done - first)

    return timed


def fixed(stage: Stage, step: Taken, inputs: Any, steps: int) -> Steps:
    """The same inputs again and again."""
    state, taken = stage.state(), jax.jit(step, donate_argnums=0)

    def timed() -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(steps):
            state, _ = taken(state, inputs)
        jax.block_until_ready(state)
        return (time.perf_counter() - start) / steps

    return timed


def main(args: argparse.Namespace) -> None:
    config = from_mapping(PoseConfig, get_config("small").to_dict()).data
    records = open_lsp(args.lsp, config.labels)
    part = prepare_part([records[i] for i in range(args.images)], config, "image")
    stage, steps = Stage(part.poses), args.steps
    with tempfile.TemporaryDirectory() as folder:
        run = partial(training, stage, steps=steps, file=Path(folder) / "metrics.jsonl")
        forms: dict[str, Steps] = {
            "step on one batch": fixed(stage, stage.step, stage.batch(), steps),
            "training, device": run(placement="device"),
            "training, stream": run(placement="stream"),
            "network on ready crops": fixed(stage, stage.network_step, stage.samples(), steps),
        }
        seconds = in_turns(forms, args.turns)
    title = (
        f"a step of `small`'s stage 1, {args.images} photos, {args.turns} turns of {steps} steps"
    )
    show_times(title, seconds, "training, device", args.json)
    pairs = zip(seconds["step on one batch"], seconds["training, stream"], strict=True)
    print(
        f"\nstep on one batch to training, stream: {statistics.median(a / b for a, b in pairs):.2f}"
    )


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m benchmarks.training_loop", description=(__doc__ or "").splitlines()[0]
    )
    command.add_argument("--lsp", type=Path, required=True, help="the folder of Leeds Sports Pose")
    command.add_argument("--images", type=int, default=1000, help="photos to train on")
    command.add_argument("--steps", type=int, default=20, help="steps a turn")
    command.add_argument("--turns", type=int, default=5)
    command.add_argument("--json", type=Path, help="a file to write the times to")
    return command


if __name__ == "__main__":
    cli.run(main, parser())
