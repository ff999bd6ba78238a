"""Compiles the training steps and predictions of every preset for TPUs, on a machine without one.

    python -m benchmarks.ahead_of_time [--topology v5e:1x1] [--topology v5e:2x4] [--json FILE] [CONFIG:PRESET ...]
    python -m benchmarks.ahead_of_time [--topology v5e:1x1] crops

It takes `pip install "jax[tpu]"`, whose compiler needs no TPU. v5e:1x1 is Colab's. Printed for each program, on one
chip: the batch over all chips, seconds to compile, GiB of arguments and of temporary arrays (a chip has 16), TFLOP, GiB
that memory accesses add up to, and the milliseconds that the arithmetic and the accesses take at the chip's peak of
197 TFLOP/s in bfloat16 and 819 GB/s, by the compiler's own counts, which take the body of a loop once; and the number
of loops. FILE gets each row as soon as it is measured; what it holds already is not compiled again. "crops" are those
of `pose:small` alone, rotated, in either form of `crop_boxes`; without its loop all of the work is counted.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

# Read by libtpu, before JAX starts: there is no TPU to ask, and none to hold alone.
os.environ.update(TPU_SKIP_MDS_QUERY="1", TPU_WORKER_HOSTNAMES="localhost", TPU_WORKER_ID="0")
os.environ.update(ALLOW_MULTIPLE_LIBTPU_LOAD="1", JAX_PLATFORMS="cpu")

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import NamedSharding

from anomaly_jax import predictor as anomaly_predictor
from anomaly_jax import train_step as anomaly_step
from anomaly_jax.config import AnomalyConfig
from anomaly_jax.detector import Detector
from anomaly_jax.folds import Batch as AnomalyBatch
from classify_jax import predictor as classify_predictor
from classify_jax import train_step as classify_step
from classify_jax.config import ClassificationConfig
from classify_jax.networks import build as build_classifier
from classify_jax.synthetic import CLASSES
from deeppose_jax import predictor as pose_predictor
from deeppose_jax import train_step as pose_step
from deeppose_jax.boxes import whole_image
from deeppose_jax.cascade import StagePoses
from deeppose_jax.config import PoseConfig
from deeppose_jax.crops import crop_boxes
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.displacements import Displacements
from deeppose_jax.mesh import batch_axes, make_mesh, state_sharding
from deeppose_jax.regressor import Regressor
from deeppose_jax.skeleton import LSP
from deeppose_jax.stages import stage_network
from engine_jax import sharding
from engine_jax.config import from_mapping
from engine_jax.optimizer import make_optimizer
from engine_jax.stacked import stacked
from engine_jax.state import create_state, graph_defs
from launch_jax import config_files

TOPOLOGIES = {"v5e:1x1": ("v5litepod-1", {"chips_per_host_bounds": (1, 1, 1)})}
TOPOLOGIES["v5e:2x4"] = ("v5litepod-8", {})
PEAK, BANDWIDTH, GIB = 197e12, 819e9, 2**30
IMAGENET = 1000  # classes of the preset "alexnet"


@dataclass(frozen=True)
class Program:
    """What is compiled: a function of arrays, which are given by their shapes and shardings."""

    name: str
    batch: int
    function: Callable
    arguments: tuple
    donates: bool


def placed(tree: Any, where: Any) -> Any:
    """Shapes of a tree's arrays, with a sharding, or with those of a tree of them."""

    def place(where: NamedSharding, part: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), part
        )

    return jax.tree.map(place, where, tree)


def state_of(build: Callable, optimizer: Any, where: Any, **options: Any) -> Any:
    create = partial(create_state, build, optimizer, sharding=None, **options)  # pyright: ignore
    return placed(jax.eval_shape(lambda: create(jax.random.key(0))), where)


def pose_programs(config: dict[str, Any]) -> Iterator[Program]:
    settings = from_mapping(PoseConfig, config)
    k, canvas, mesh = LSP.num_joints, settings.data.canvas, make_mesh(settings, LSP.num_joints)

    def poses(n: int) -> PoseSet:
        return PoseSet(
            canvases=np.zeros((n, canvas, canvas, 3), np.uint8),
            boxes=np.tile(np.float32(whole_image(canvas, canvas)), (n, 1)),
            joints=np.zeros((n, k, 2), np.float32),
            labelled=np.ones((n, k), bool),
            to_image=np.tile(np.eye(2, 3, dtype=np.float32), (n, 1, 1)),
        )

    zero, variance = np.zeros((k, 2), np.float32), np.tile(0.01 * np.eye(2), (k, 1, 1))
    errors = Displacements(zero, np.float32(variance), np.float32(0), np.float32(0.1))
    for number in range(1, min(settings.stages, 2) + 1):  # All later ones are like the second.
        stage = settings.stage(number)
        build = partial(stage_network, stage, k)
        trained = stage.transfer.trained_at_end
        optimizer = make_optimizer(stage.optimizer, 1000, dict(stage.transfer.rates))
        per_joint = stage.form == "per_joint"
        where = state_sharding(stage, mesh)
        by_joint = stacked(optimizer) if per_joint else optimizer
        state = state_of(build, by_joint, where, trained=trained)
        one = partial(Regressor, stage.model, 1) if per_joint else build
        common = {"optimizer": optimizer, "settings": settings, "skeleton": LSP}
        common["key"] = jax.random.key(1)
        if number == 1:
            common |= {"graphdef": graph_defs(build, trained).train, "trained": trained}
            step = partial(pose_step.train_step, **common)
        else:
            common |= {"graphdef": graph_defs(one).train, "displacements": errors}
            shared = partial(pose_step.shared_refiner_step, **common)
            step = partial(pose_step.joint_refiners_step, mesh=mesh, **common)
            step = step if per_joint else shared
        n = stage.train.batch_size
        over = sharding.split(mesh, over=batch_axes(stage, mesh))
        yield Program(f"stage {number} step", n, step, (state, placed(poses(n), over)), True)
        n = -(-settings.evaluation.batch_size // mesh.size) * mesh.size
        before = None
        if number == 2:
            points, boxes = np.zeros((n, k, 2), np.float32), np.zeros((n, 1, 4), np.float32)
            before = StagePoses(points, np.ones((n, k), np.float32), boxes)
        fixed = {"stage": stage, "config": settings.cascade, "skeleton": LSP, "mesh": mesh}
        graphdef = graph_defs(build).evaluate
        predict = partial(pose_predictor.eval_step, graphdef=graphdef, **fixed)
        batch = placed((poses(n), before), sharding.split(mesh, over=("data",)))
        yield Program(f"stage {number} prediction", n, predict, (state.variables, *batch), False)


def anomaly_programs(config: dict[str, Any]) -> Iterator[Program]:
    settings = from_mapping(AnomalyConfig, config)
    if settings.by_features:
        return  # It is fitted once, not trained.
    n, side = settings.train.batch_size, settings.model.input_size
    mesh, build = sharding.device_mesh(n), partial(Detector, settings.detector)
    optimizer, graphs = make_optimizer(settings.optimizer, 1000), graph_defs(build)
    state = state_of(build, optimizer, sharding.replicated(mesh), stack=settings.members)
    fixed = {"optimizer": optimizer, "settings": settings, "key": jax.random.key(1)}
    step = partial(anomaly_step.train_step, graphdef=graphs.train, **fixed)

    def images(n: int) -> Any:
        return placed(np.zeros((n, side, side, 3), np.uint8), sharding.split(mesh))

    yield Program("step", n, step, (state, AnomalyBatch(images(n))), True)
    detect = partial(
        anomaly_predictor.detect_step, graphdef=graphs.evaluate, scoring=settings.scoring
    )
    n = -(-settings.evaluation.batch_size // mesh.size) * mesh.size
    yield Program("prediction", n, detect, (state.variables, images(n)), False)


def classify_programs(config: dict[str, Any]) -> Iterator[Program]:
    settings = from_mapping(ClassificationConfig, config)
    n, side = settings.train.batch_size, settings.data.size
    classes = IMAGENET if settings.preset == "alexnet" else len(CLASSES)
    mesh, build = sharding.device_mesh(n), partial(build_classifier, settings.model, classes)
    trained = settings.transfer.trained_at_end
    optimizer = make_optimizer(settings.optimizer, 1000, dict(settings.transfer.rates))
    state = state_of(build, optimizer, sharding.replicated(mesh), trained=trained)
    weights = np.ones(classes, np.float32)
    fixed = {"optimizer": optimizer, "settings": settings, "key": jax.random.key(1)}
    fixed |= {"weights": weights, "components": np.eye(3, dtype=np.float32), "trained": trained}
    graphdef = graph_defs(build, trained).train
    step = partial(classify_step.train_step, graphdef=graphdef, **fixed)

    def images(n: int) -> Any:
        arrays = np.zeros((n, side, side, 3), np.uint8), np.zeros(n, np.int32)
        return placed(arrays, sharding.split(mesh))

    yield Program("step", n, step, (state, classify_step.Batch(*images(n))), True)
    n = -(-settings.evaluation.batch_size // mesh.size) * mesh.size
    predict = partial(
        classify_predictor.predict_step,
        graphdef=graph_defs(build).evaluate,
        size=settings.model.input_size,
        weights=weights,
    )
    view = (jnp.int32(0), jnp.int32(0), jnp.bool_(False))
    view = placed(view, sharding.replicated(mesh))
    yield Program("prediction", n, predict, (state.variables, *images(n), view), False)


def crop_programs(config: dict[str, Any]) -> Iterator[Program]:
    del config
    n, canvas, whole = 16, 192, sharding.replicated(sharding.device_mesh(1))
    for what, k, size in (("stage 1", 1, 128), ("all joints", LSP.num_joints, 96)):
        arrays = np.zeros((n, canvas, canvas, 3), np.uint8), np.zeros((n, k, 4), np.float32)
        arguments = placed((*arrays, np.zeros((n, 2, 3), np.float32)), whole)

        def crops(canvases: Any, boxes: Any, maps: Any, form: Any, size: int = size) -> Any:
            return crop_boxes(canvases, boxes, size, maps=maps, form=form)

        def unrolled(*arrays: Any, crops: Callable = crops) -> Any:
            with mock.patch.object(jax.lax, "map", lambda tile, all_: jax.vmap(tile)(all_)):
                return crops(*arrays, form="matmul")

        for form in ("gather", "matmul"):
            yield Program(f"{what}, {form}", n, partial(crops, form=form), arguments, False)
        yield Program(f"{what}, matmul without its loop", n, unrolled, arguments, False)


PROGRAMS = {
    "pose": pose_programs,
    "anomaly": anomaly_programs,
    "classify": classify_programs,
    "crops": crop_programs,
}


def measured(program: Program) -> dict[str, Any]:
    """A program's row of the table."""
    start = time.perf_counter()
    donated = 0 if program.donates else ()
    jitted = jax.jit(program.function, donate_argnums=donated)
    compiled = jitted.lower(*program.arguments).compile()
    seconds = time.perf_counter() - start
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    return {
        "program": program.name,
        "batch": program.batch,
        "compile_s": round(seconds, 1),
        "arguments_gib": memory.argument_size_in_bytes / GIB,
        "temporary_gib": memory.temp_size_in_bytes / GIB,
        "tflop": cost["flops"] / 1e12,
        "accessed_gib": cost["bytes accessed"] / GIB,
        "arithmetic_ms": 1e3 * cost["flops"] / PEAK,
        "memory_ms": 1e3 * cost["bytes accessed"] / BANDWIDTH,
        "loops": compiled.as_text().count(" while("),
    }


def show(row: dict[str, Any]) -> None:
    shown = [row[name] for name in ("chips", "preset", "program", "batch", "compile_s")]
    shown += [f"{row[f'{name}_gib']:.3f}" for name in ("arguments", "temporary")]
    shown += [f"{row['tflop']:.3f}", f"{row['accessed_gib']:.3f}"]
    shown += [f"{row['arithmetic_ms']:.2f}", f"{row['memory_ms']:.2f}", row["loops"]]
    print("| " + " | ".join(map(str, shown)) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compiles every preset's programs for TPUs.")
    parser.add_argument("presets", nargs="*", metavar="CONFIG:PRESET")
    parser.add_argument("--topology", action="append", choices=TOPOLOGIES)
    parser.add_argument("--json", type=Path, help="a file of rows to add to")
    args = parser.parse_args()
    named = config_files.named().items()
    every = [f"{name}:{preset}" for name, path in named for preset in config_files.presets(path)]
    rows = json.loads(args.json.read_text())["rows"] if args.json and args.json.exists() else []
    known = {(row["chips"], row["preset"], row["program"]): row for row in rows}
    print(f"JAX {jax.__version__}\n")
    print(
        "| chips | preset | program | batch | compile s | arguments GiB | temporary GiB | TFLOP ",
        end="",
    )
    print("| accessed GiB | arithmetic ms | memory ms | loops |\n" + "|---" * 12 + "|", flush=True)
    for topology in args.topology or TOPOLOGIES:
        kind, options = TOPOLOGIES[topology]
        os.environ["TPU_ACCELERATOR_TYPE"] = kind
        chips = list(topologies.get_topology_desc(topology, "tpu", **options).devices)
        # As on a machine that has the chips.
        backend = mock.patch.object(jax, "default_backend", return_value="tpu")
        with backend, mock.patch.object(sharding, "all_devices", return_value=chips):
            for preset in args.presets or every:
                alone = preset == "crops"
                config = {"task": preset} if alone else config_files.read(preset)[1].to_dict()
                for program in PROGRAMS[config["task"]](config):
                    row = known.get((topology, preset, program.name))
                    if row is None:
                        row = {"chips": topology, "preset": preset, **measured(program)}
                        rows.append(row)
                    show(row)
                    if args.json:
                        about = {"jax": jax.__version__, "rows": rows}
                        args.json.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
