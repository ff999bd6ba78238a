"""Times training steps on CPU in float32, beside the same networks in PyTorch, uncompiled.

    python -m benchmarks.cpu_steps --torch PYTHON [--turns 7] [--json FILE] [NAME ...]

A step is forward, backward and AdamW on a fixed batch of noise, without augmentation. Ours and PyTorch's of either
layout of its arrays take turns, and so does a matrix product of 2048 x 2048. Printed are the medians of the
milliseconds, PyTorch's for its faster layout; the median over the turns of PyTorch's time divided by ours, above 1
where ours is faster; for when other programs run, that of the least times, and the median of that of all cores' times;
and the fraction of the matrix product's operations a second that our convolutions and linear layers do, counted as
three times those of the forward pass, by the least times. Both sides must have the same number of parameters. PYTHON
is an interpreter that has PyTorch.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from anomaly_jax.config import AnomalyConfig
from anomaly_jax.detector import Detector, detector_losses
from benchmarks.other_process import LAYOUTS, Seconds, Step, torch_steps
from benchmarks.table import in_turns
from configs import anomaly, pose
from convnets_jax import zoo
from convnets_jax.alexnet import AlexNet, AlexNetConfig
from deeppose_jax.config import PoseConfig
from deeppose_jax.skeleton import LSP
from deeppose_jax.stages import stage_network
from engine_jax.config import from_mapping

PRODUCT = 2048  # side of the matrices


class Work(NamedTuple):
    """A network's step: how ours is built, its loss of the network and images, and the job for PyTorch."""

    build: Callable[..., Any]
    loss: Callable[[Any, jax.Array], jax.Array]
    size: int
    batch: int
    network: str
    options: dict[str, Any]


def small() -> Work:
    settings = from_mapping(PoseConfig, pose.get_config("small").to_dict())
    k, n, compact = LSP.num_joints, settings.train.batch_size, settings.model.compact

    def loss(model: Any, images: jax.Array) -> jax.Array:
        return model.loss(model(images), jnp.full((n, k, 2), 0.1), jnp.ones((n, k), bool)).mean()

    options = {
        "widths": compact.widths,
        "blocks": compact.blocks,
        "out_channels": compact.out_channels,
        "out_blocks": compact.out_blocks,
        "joints": k,
    }
    build = partial(stage_network, settings.stage(1), k)
    return Work(build, loss, settings.model.input_size, n, "pose", options)


def detector(preset: str) -> Work:
    settings = from_mapping(AnomalyConfig, anomaly.get_config(preset).to_dict())
    size, n = settings.model.input_size, settings.train.batch_size
    faults = jnp.zeros((n, size, size)).at[:, :32, :32].set(1)

    def loss(model: Any, images: jax.Array) -> jax.Array:
        targets = jnp.full(images.shape, 0.5)
        return detector_losses(model(images), targets, faults, settings.loss).mean()

    fields = ("layers", "bottleneck", "slope", "norm")
    options = {"size": size} | {name: getattr(settings.model, name) for name in fields}
    network = "autoencoder"
    segmenter = settings.detector.segmenter
    if segmenter is not None:
        network, options = "detector", {"autoencoder": options, "area": settings.loss.area}
        options |= {name: getattr(segmenter, name) for name in ("widths", "blocks", "up_blocks")}
    return Work(partial(Detector, settings.detector), loss, size, n, network, options)


def first_class(model: Any, images: jax.Array, *args: Any) -> jax.Array:
    """The cross entropy of a classifier, for which all images are of class 0."""
    labels = jnp.zeros(len(images), int)
    logits = model(images, *args)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def resnet18() -> Work:
    return Work(partial(zoo.create, "resnet18"), first_class, 128, 32, "resnet18", {})


def alexnet(norm: str) -> Work:
    config = AlexNetConfig.deeppose()
    options = {name: getattr(config, name) for name in ALEXNET} | {"norm": norm}
    config = AlexNetConfig(**options, init="he")

    def loss(model: Any, images: jax.Array) -> jax.Array:
        return first_class(model, images, nnx.Rngs(0))

    return Work(partial(AlexNet, config), loss, config.input_size, 32, "alexnet", options)


ALEXNET = ("input_size", "widths", "first_kernel", "first_stride", "first_padding")
ALEXNET += ("norm", "hidden", "dropout", "num_classes")
WORK: dict[str, Callable[[], Work]] = {
    "small": small,
    "base": partial(detector, "base"),
    "large": partial(detector, "large"),
    "resnet18": resnet18,
    "alexnet_lrn": partial(alexnet, "lrn"),
    "alexnet": partial(alexnet, "none"),
    "discriminative": partial(detector, "discriminative"),
}


def jax_step(work: Work) -> tuple[int, Step]:
    """The number of parameters, and a function that takes a step and returns its seconds."""
    graphdef, params, rest = nnx.split(work.build(rngs=nnx.Rngs(0)), nnx.Param, ...)
    optimizer = optax.adamw(1e-4)
    images = jax.random.uniform(jax.random.key(0), (work.batch, work.size, work.size, 3))

    def train_step(params: Any, rest: Any, moments: Any) -> tuple[Any, Any, Any]:
        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            model = nnx.merge(graphdef, params, rest, copy=True)
            return work.loss(model, images), nnx.state(model, nnx.Not(nnx.Param))

        (_, changed), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, moments = optimizer.update(grads, moments, params)
        return optax.apply_updates(params, updates), changed, moments

    state = params, rest, optimizer.init(params)
    compiled = jax.jit(train_step, donate_argnums=(0, 1, 2)).lower(*state).compile()
    count = sum(leaf.size for leaf in jax.tree.leaves(params))

    def take() -> None:
        nonlocal state
        state = jax.block_until_ready(compiled(*state))

    return count, partial(timed, take)


def timed(function: Callable[[], Any]) -> Seconds:
    start, cores = time.perf_counter(), time.process_time()
    function()
    return Seconds(time.perf_counter() - start, time.process_time() - cores)


def product_step() -> Step:
    x = jax.random.normal(jax.random.key(0), (PRODUCT, PRODUCT))
    multiply = jax.jit(jnp.matmul)

    return partial(timed, lambda: jax.block_until_ready(multiply(x, x)))


def compared(work: Work, python: str, turns: int) -> dict[str, Any]:
    """A row of the table."""
    job = {"network": work.network, "batch": work.batch, "size": work.size, "optimizer": "AdamW"}
    with torch_steps(python, {**job, "options": work.options}) as (about, theirs):
        count, ours = jax_step(work)
        if count != about["parameters"]:
            raise RuntimeError(f"{count} parameters here, {about['parameters']} in PyTorch")
        found = in_turns({"ours": ours, "product": product_step(), **theirs}, turns)
    seconds = {name: [each.wall for each in times] for name, times in found.items()}
    cores = {name: statistics.median(each.cores for each in times) for name, times in found.items()}
    median = {name: statistics.median(times) for name, times in seconds.items()}
    faster = min(LAYOUTS, key=lambda layout: median[layout])
    least = {name: min(times) for name, times in seconds.items()}
    least_torch = min(least[layout] for layout in LAYOUTS)
    pairs = zip(seconds[faster], seconds["ours"], strict=True)
    flops = 3 * 2 * about["multiply_adds"]
    peak = 2 * PRODUCT**3 / least["product"]
    return {
        "size": work.size,
        "batch": work.batch,
        "parameters": count,
        "ms": 1e3 * median["ours"],
        "pytorch_ms": 1e3 * median[faster],
        "form": faster,
        "ratio": statistics.median(theirs / ours for theirs, ours in pairs),
        "least_ms": 1e3 * least["ours"],
        "pytorch_least_ms": 1e3 * least_torch,
        "least_ratio": least_torch / least["ours"],
        "all_cores_ms": 1e3 * cores["ours"],
        "pytorch_all_cores_ms": 1e3 * min(cores[layout] for layout in LAYOUTS),
        "all_cores_ratio": min(cores[layout] for layout in LAYOUTS) / cores["ours"],
        "peak_gflops": peak / 1e9,
        "peak_fraction": flops / least["ours"] / peak,
        "pytorch": about["version"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Times training steps on CPU beside PyTorch.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(WORK))
    parser.add_argument("--torch", metavar="PYTHON", required=True)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", type=Path, help="a file to write the rows to")
    args = parser.parse_args()
    if unknown := set(args.names) - set(WORK):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; accepted: {', '.join(WORK)}")
    print(f"JAX {jax.__version__}, {jax.devices()[0].device_kind}, {args.turns} turns\n")
    print(
        "| step | px | batch | ms | PyTorch ms | its form | PyTorch / ours | least | all cores | of the peak |"
    )
    print("|---" * 10 + "|", flush=True)
    rows = []
    for name in args.names or WORK:
        row = {"step": name, **compared(WORK[name](), args.torch, args.turns)}
        rows.append(row)
        print(
            "| {step} | {size} | {batch} | {ms:.0f} | {pytorch_ms:.0f} | {form} | {ratio:.2f} "
            "| {least_ratio:.2f} | {all_cores_ratio:.2f} | {peak_fraction:.2f} |".format(**row),
            flush=True,
        )
        if args.json:
            about = {"jax": jax.__version__, "turns": args.turns, "rows": rows}
            args.json.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
