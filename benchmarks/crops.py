"""Times crops of boxes, beside JAX's own ways to resample and beside PyTorch.

    python -m benchmarks.crops [--images 4] [--joints 14] [--canvas 256] [--size 64]
        [--box LOW HIGH] [--turns 10] [--torch PYTHON] [--json FILE]

Square boxes with sides between LOW and HIGH pixels, which lie inside of the canvases, from uint8 noise. All forms
turn the canvases to float themselves. They take turns in random order, so that whatever else the machine does slows
all of them. Printed for each: its median and least time for all crops, the median over the turns of its ratio to ours
(the form that "auto" takes; listed twice, which shows the noise), and the standard deviation of all crops, which shows
who filters: map_coordinates and PyTorch's grid_sample interpolate without a
filter, and skip pixels of boxes larger than 2 * size. PyTorch draws noise and boxes of its own, from the same
distributions.
PYTHON is an interpreter that has PyTorch, which runs in a process of its own and waits in between.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Makes all crops, and returns the seconds that took and the crops' standard deviation.
Turn = Callable[[], tuple[float, float]]


def jax_turns(
    images: int, joints: int, canvas: int, size: int, box: list[float]
) -> dict[str, Turn]:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from deeppose_jax import affine
    from deeppose_jax.crops import crop_boxes

    def map_coordinates(canvases, boxes):
        pixels = jnp.stack(jnp.meshgrid(jnp.arange(size), jnp.arange(size)), -1).reshape(-1, 2)

        def one(image, box):
            to_canvas = affine.invert(affine.box_to_pixels(box, size))
            x, y = affine.apply(to_canvas, pixels * 1.0).reshape(size, size, 2).transpose(2, 0, 1)
            sample = jax.vmap(jax.scipy.ndimage.map_coordinates, (2, None, None), 2)
            return sample(image, [y, x], 1)

        return jax.vmap(jax.vmap(one, (None, 0)))(canvases.astype(jnp.float32) / 255, boxes)

    def scale_and_translate(canvases, boxes):
        def one(image, box):
            low, high = box[1::-1], box[:1:-1]  # (y, x), as the image's axes
            scale = size / (high - low)
            shift = -scale * (low + 0.5)
            shape = (size, size, 3)
            return jax.image.scale_and_translate(image, shape, (0, 1), scale, shift, "linear")

        return jax.vmap(jax.vmap(one, (None, 0)))(canvases.astype(jnp.float32) / 255, boxes)

    rng = np.random.default_rng(0)
    side = rng.uniform(box[0], box[1], (images, joints, 1))
    centre = (canvas - 1) / 2 + rng.uniform(-0.5, 0.5, (images, joints, 2)) * (canvas - side)
    boxes = np.concatenate([centre - side / 2, centre + side / 2], -1)  # [n, k, 4]
    noise = rng.integers(0, 256, (images, canvas, canvas, 3), dtype=np.uint8)
    arrays = jnp.asarray(noise), jnp.asarray(boxes, jnp.float32)

    def turn_of(function) -> Turn:
        program = jax.jit(function).lower(*arrays).compile()

        def turn() -> tuple[float, float]:
            start = time.perf_counter()
            crops = jax.block_until_ready(program(*arrays))
            return time.perf_counter() - start, float(crops.std())

        return turn

    return {
        "ours": turn_of(lambda images, boxes: crop_boxes(images, boxes, size)),
        "matmul": turn_of(lambda images, boxes: crop_boxes(images, boxes, size, form="matmul")),
        "gather": turn_of(lambda images, boxes: crop_boxes(images, boxes, size, form="gather")),
        "map_coordinates": turn_of(map_coordinates),
        "scale_and_translate": turn_of(scale_and_translate),
    }


def torch_turn(images: int, joints: int, canvas: int, size: int, box: list[float]) -> Turn:
    import torch  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    side = box[0] + (box[1] - box[0]) * torch.rand(images, joints, 1)
    centre = (canvas - 1) / 2 + (torch.rand(images, joints, 2) - 0.5) * (canvas - side)
    canvases = torch.randint(256, (images, canvas, canvas, 3), dtype=torch.uint8)
    offsets = (torch.arange(size) + 0.5) / size - 0.5

    def turn() -> tuple[float, float]:
        start = time.perf_counter()
        planes = canvases.permute(0, 3, 1, 2).float() / 255
        # A canvas is [-1, 1]^2. The crops of an image lie below each other on one grid, which saves copies of it.
        x, y = (((centre + 0.5)[..., None] + side[..., None] * offsets) * 2 / canvas - 1).unbind(2)
        shape = (images, joints, size, size)
        grid = torch.stack([x[:, :, None].expand(shape), y[..., None].expand(shape)], -1)
        grid = grid.reshape(images, joints * size, size, 2)
        crops = torch.nn.functional.grid_sample(planes, grid, align_corners=False)
        return time.perf_counter() - start, float(crops.std())

    return turn


@contextlib.contextmanager
def other_process(python: str, arguments: argparse.Namespace) -> Iterator[Turn]:
    """PyTorch's turns, in a process that waits for them."""
    job = json.dumps({**vars(arguments), "torch": None, "torch_job": None, "json": None})
    command = [python, "-W", "ignore", __file__, "--torch-job", job]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process of PyTorch has no pipes")

        def turn() -> tuple[float, float]:
            stdin.write("turn\n")
            stdin.flush()
            seconds, deviation = json.loads(stdout.readline())
            return seconds, deviation

        yield turn
        stdin.close()  # ends its loop


def main() -> None:
    parser = argparse.ArgumentParser(description="Times crops of boxes.")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--joints", type=int, default=14)
    parser.add_argument("--canvas", type=int, default=256)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument(
        "--box", type=float, nargs=2, default=(32.0, 128.0), metavar=("LOW", "HIGH")
    )
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    parser.add_argument("--torch-job", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="a file to write the times to")
    args = parser.parse_args()
    if args.torch_job:
        job = argparse.Namespace(**json.loads(args.torch_job))
        turn = torch_turn(job.images, job.joints, job.canvas, job.size, job.box)
        for _ in sys.stdin:
            print(json.dumps(turn()), flush=True)
        return

    from benchmarks.table import show_times

    with contextlib.ExitStack() as stack:
        turns = jax_turns(args.images, args.joints, args.canvas, args.size, args.box)
        if args.torch:
            turns["grid_sample"] = stack.enter_context(other_process(args.torch, args))
        seconds = {name: [] for name in turns}
        deviations = {}
        order = random.Random(0)
        for i in range(args.turns + 1):
            # In random order, since who follows PyTorch finds cold caches and its threads still awake.
            for name in order.sample(list(turns), len(turns)):
                taken, deviations[name] = turns[name]()
                if i:  # the first turn warms up
                    seconds[name].append(taken)
    title = (
        f"{args.images} x {args.joints} boxes of {args.box[0]:g} to {args.box[1]:g} px, "
        f"canvas {args.canvas} px, crops {args.size} px, {args.turns} turns"
    )
    show_times(title, seconds, "ours", args.json)
    print("\nstandard deviations:", ", ".join(f"{k} {v:.4f}" for k, v in deviations.items()))


if __name__ == "__main__":
    main()
