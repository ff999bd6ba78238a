"""What `predict` of every task's model takes, and the frame of every task's prediction program."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from engine_jax.devices import check_devices
from engine_jax.errors import UserError
from engine_jax.files import check_folder, make_folder, read_file, user_path, write_file
from engine_jax.image_files import image_paths, read_rgb
from engine_jax.images import UnreadableError, as_rgb, pixels

T = TypeVar("T")

# A uint8 RGB array [h, w, 3], an image of Pillow's, or the path of an image file.
AnyImage: TypeAlias = np.ndarray | Image.Image | str | Path

# Limits on what a program passes to `predict` at once: images, and pixels of all images together.
_BATCH, _PIXELS = 32, 2**25
_NAME = (
    200  # bytes of an image's name in the names of what is written for it; file systems take 255
)


def rgb_arrays(
    images: AnyImage | Sequence[AnyImage], white: float | None = None
) -> list[np.ndarray]:
    """Images of any of the accepted kinds as uint8 arrays [h, w, 3]; a single image is a list of one.

    `white` is explained in `engine_jax.images.as_rgb`.

    Raises:
        UserError: an array of another shape or type, or a file that can't be read as an image.
    """
    single = isinstance(images, (str, Path, Image.Image)) or (
        isinstance(images, np.ndarray) and images.ndim == 3
    )
    listed = [images] if single else images
    return [_rgb_array(image, f"images[{i}]", white) for i, image in enumerate(listed)]  # pyright: ignore[reportArgumentType]


def _rgb_array(image: AnyImage, name: str, white: float | None) -> np.ndarray:
    if isinstance(image, (str, Path)):
        return pixels(read_rgb(partial(read_file, user_path(image)), str(image), white))
    if isinstance(image, Image.Image):
        try:
            return pixels(as_rgb(image, white))
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise UserError(
            f"{name}: {array.dtype} {array.shape}; accepted: uint8 [h, w, 3], a PIL image, or a path"
        )
    return array


def prediction_parser(
    program: str, description: str, default_model: str | None = None, images: str = "+"
) -> argparse.ArgumentParser:
    """The command line of a program that applies a finished run to images.

    `default_model` says which model is used without --workdir; None makes that an error. `images` is "*" for a program
    that takes something else instead.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("images", nargs=images, metavar="IMAGE_OR_FOLDER")
    if default_model is None:
        parser.add_argument("--workdir", required=True, help="the folder of a finished run")
    else:
        about = f"the folder of a finished run, or a model's file; default: {default_model}"
        parser.add_argument("--workdir", help=about)
    parser.add_argument("--out", required=True, help="the folder to write to")
    parser.add_argument(
        "--recursive", action="store_true", help="take the images of the folders in a folder too"
    )
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="report and leave out what can't be read"
    )
    return parser


def predict_files(
    args: argparse.Namespace,
    load: Callable[[Any], T],
    predict: Callable[[T, list[Path], list[np.ndarray]], Sequence[Any]],
    write: Callable[[T, np.ndarray, Any, Path], dict[str, Any]],
    header: Callable[[T], Mapping[str, Any]] = lambda model: {},
    document: Callable[[dict[str, Any]], Any] = dict,
    white: Callable[[T], float | None] = lambda model: None,
    line: Callable[[dict[str, Any]], str] | None = None,
) -> list[dict[str, Any]]:
    """Reads images, applies a model to them in batches, and writes predictions.json.

    Args:
        args: of `prediction_parser`.
        load: makes the model of `args.workdir`.
        predict: applies it to the images of some files.
        write: writes what belongs to one image to files whose names begin with a path, and returns its entry.
        header: what predictions.json holds beside the entries.
        document: makes another JSON value of all that, where the file is to be in another format.
        white: the model's value of white, see `engine_jax.images.as_rgb`.
        line: of an entry, what is printed to standard output as soon as it is known; None prints nothing.

    Returns:
        The entries.

    Raises:
        UserError: no images, an unreadable one unless these are skipped, or what `load` and `predict` raise.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    check_devices()
    paths, out = image_paths(args.images, args.recursive), user_path(args.out)
    check_folder(out)  # Before a model is loaded, which takes longer.
    model = load(args.workdir)
    make_folder(out)
    entries: list[dict[str, Any]] = []

    def apply(batch: list[tuple[Path, np.ndarray]], bar: tqdm) -> None:
        files, images = [path for path, _ in batch], [image for _, image in batch]
        found = predict(model, files, images)
        for (path, image), prediction in zip(batch, found, strict=True):
            stem = out / f"{len(entries) + 1:05d}_{_shortened(path.stem)}"
            entries.append({"file": str(path), **write(model, image, prediction, stem)})
            if line is not None:
                bar.write(line(entries[-1]), file=sys.stdout)
                sys.stdout.flush()
            bar.update()

    try:
        with tqdm(total=len(paths), unit="image", disable=None) as bar:
            for batch in _batches(_read(paths, args.skip_unreadable, bar, white(model))):
                apply(batch, bar)  # What it found is gone when the next batch is read.
    finally:  # Whatever ends the loop, what was predicted until then is kept.
        written = {**header(model), "predictions": entries}
        text = json.dumps(document(written), indent=2)
        write_file(out / "predictions.json", text + "\n")
    return entries


def save_image(image: Image.Image, path: Path, kind: str = "PNG") -> None:
    """Writes a file of one of Pillow's kinds, whole or not at all."""
    # In a third to a half of the time of Pillow's default, 6; files of photos are up to a quarter larger.
    options = {"compress_level": 3} if kind == "PNG" else {}
    write_file(path, partial(image.save, format=kind, **options))


def _shortened(stem: str) -> str:
    """The start of a file's name that leaves room for what is written before and after it."""
    return os.fsencode(stem)[:_NAME].decode(sys.getfilesystemencoding(), "ignore")


def _read(
    paths: Sequence[Path], skip: bool, bar: tqdm, white: float | None
) -> Iterator[tuple[Path, np.ndarray]]:
    for path in paths:
        try:
            yield path, pixels(read_rgb(partial(read_file, path), str(path), white))
        except UnreadableError as error:
            if not skip:
                raise UserError(f"{error}; --skip-unreadable leaves such files out") from error
            bar.write(f"left out: {error}", file=sys.stderr)
            bar.update()


def _batches(
    images: Iterable[tuple[Path, np.ndarray]],
) -> Iterator[list[tuple[Path, np.ndarray]]]:
    batch, pixels = [], 0
    for path, image in images:
        batch.append((path, image))
        pixels += image.shape[0] * image.shape[1]
        if len(batch) == _BATCH or pixels >= _PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch
