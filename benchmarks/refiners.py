"""Times a training step of all joints' refiners beside as many steps of a single network.

    python -m benchmarks.refiners [--input-size 64] [--batch 16] [--turns 5] [--vmap] [--json FILE]

Both take forward, backward and Adam on crops of the same size; the refiners' step draws and resamples its crops as
well. The network is the demo's AlexNet. The two take turns, so that whatever else the machine does slows both. With
--vmap a third form takes part: the refiners under `jax.vmap`, as on an accelerator, which makes grouped convolutions.
Printed: the median and the least time of each, and the median over the turns of its ratio to joints x the single
step's.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.table import show_times
from configs.pose import get_config
from deeppose_jax.boxes import whole_image
from deeppose_jax.config import PoseConfig
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.displacements import Displacements
from deeppose_jax.regressor import Regressor
from deeppose_jax.skeleton import LSP
from deeppose_jax.stages import stage_network
from deeppose_jax.train_step import joint_refiners_step
from engine_jax.config import from_mapping
from engine_jax.sharding import device_mesh, replicated
from engine_jax.stacked import stacked
from engine_jax.state import create_state, graph_defs

Step = Callable[[], float]  # takes one step and returns its seconds


def settings_of(input_size: int) -> PoseConfig:
    config = get_config("demo")
    config.stages = 2
    config.refiner.form = "per_joint"
    config.refiner.joints_per_image = 0
    config.refiner.combine = "replace"
    network = config.refiner.model
    network.backbone, network.head, network.input_size = "alexnet", "regression", input_size
    network.alexnet.widths, network.alexnet.norm = (32, 64, 96, 96, 96), "batch"
    network.alexnet.first_kernel, network.alexnet.first_stride = 5, 2
    network.hidden, network.dropout = (384, 384), 0.0
    return from_mapping(PoseConfig, config.to_dict())


def timed(compiled: Callable, state: object, *inputs: object) -> Step:
    def step() -> float:
        nonlocal state
        start = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, *inputs))
        return time.perf_counter() - start

    return step


def all_joints(settings: PoseConfig, batch: int, backend: str) -> Step:
    rng = np.random.default_rng(0)
    canvas = 128
    poses = PoseSet(
        canvases=rng.integers(0, 256, (batch, canvas, canvas, 3), np.uint8),
        boxes=np.tile(np.float32(whole_image(canvas, canvas)), (batch, 1)),
        joints=rng.uniform(30, 100, (batch, LSP.num_joints, 2)).astype(np.float32),
        labelled=np.ones((batch, LSP.num_joints), bool),
        to_image=np.tile(np.eye(2, 3, dtype=np.float32), (batch, 1, 1)),
    )
    k = LSP.num_joints
    normal = Displacements(
        np.zeros((k, 2), np.float32),
        np.tile(0.01 * np.eye(2, dtype=np.float32), (k, 1, 1)),
        np.float32(0),
        np.float32(0.1),
    )
    optimizer = optax.adam(1e-4)
    build = partial(stage_network, settings.stage(2), LSP.num_joints)
    state = create_state(
        build, stacked(optimizer), jax.random.key(0), replicated(device_mesh(joint=1))
    )
    step = partial(
        joint_refiners_step,
        graphdef=graph_defs(partial(Regressor, settings.refiner.model, 1)).train,
        optimizer=optimizer,
        settings=settings,
        skeleton=LSP,
        key=jax.random.key(1),
        displacements=normal,
    )
    with mock.patch.object(jax, "default_backend", return_value=backend):
        compiled = jax.jit(step, donate_argnums=0).lower(state, poses).compile()
    return timed(compiled, state, jax.device_put(poses))


def one_joint(settings: PoseConfig, batch: int) -> Step:
    optimizer = optax.adam(1e-4)
    build = partial(Regressor, settings.refiner.model, 1)
    state = create_state(build, optimizer, jax.random.key(0), replicated(device_mesh(joint=1)))
    graphdef = graph_defs(build).train
    size = settings.refiner.model.input_size
    crops = jax.random.normal(jax.random.key(1), (batch, size, size, 3))
    targets, labelled = jnp.zeros((batch, 1, 2)), jnp.ones((batch, 1), bool)

    def step(state, crops):
        def loss_of(params):
            model = nnx.merge(graphdef, params, state.model_state, copy=True)
            loss = model.loss(model(crops), targets, labelled).mean()
            return loss, nnx.state(model, nnx.Not(nnx.Param))

        (loss, model_state), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        return state.apply_gradients(optimizer, grads, model_state), loss

    compiled = jax.jit(step, donate_argnums=0).lower(state, crops).compile()
    return timed(compiled, state, crops)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times a training step of refiners.")
    parser.add_argument("--input-size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--vmap", action="store_true")
    parser.add_argument("--json", type=Path, help="a file to write the times to")
    args = parser.parse_args()
    settings = settings_of(args.input_size)
    single = one_joint(settings, args.batch)
    forms = {"unrolled": all_joints(settings, args.batch, "cpu")}
    if args.vmap:
        forms["vmap"] = all_joints(settings, args.batch, "any other")
    singles: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(args.turns + 1):
        fourteen = sum(single() for _ in LSP.joints)
        found = {name: form() for name, form in forms.items()}
        if turn:  # The first one warms up.
            singles.append(fourteen)
            for name, seconds in found.items():
                times[name].append(seconds)
    alone = f"{LSP.num_joints} single steps"
    title = f"a step of refiners, {args.input_size} px, batch {args.batch}, {args.turns} turns"
    show_times(title, {alone: singles, **times}, alone, args.json)


if __name__ == "__main__":
    main()
