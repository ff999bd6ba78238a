"""Detects faults in images, from Python (`load(workdir).predict(images)`) or from the command line.

python -m anomaly_jax.predict --workdir RUN IMAGE_OR_FOLDER... --out DIR [--threshold X] [--image-threshold Y]
    [--maps npy|tiff] [--pictures none|faulty|all]
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from PIL import Image

from anomaly_jax.config import SCHEMA, AnomalyConfig
from anomaly_jax.detector import Detector
from anomaly_jax.feature_detector import feature_detect_step
from anomaly_jax.feature_training import stored_detector
from anomaly_jax.predictor import Detections, detect_step
from anomaly_jax.scoring import Prediction, decide
from anomaly_jax.thresholds import GOOD_ONLY, Thresholds
from anomaly_jax.training import NAME
from anomaly_jax.whole_images import framed_images, tiled_image
from engine_jax import cli
from engine_jax.batches import fitting_batch_size, map_batches
from engine_jax.errors import UserError
from engine_jax.files import write_file
from engine_jax.loop import best_variables
from engine_jax.prediction import (
    AnyImage,
    predict_files,
    prediction_parser,
    rgb_arrays,
    save_image,
)
from engine_jax.run_folder import RunFolder
from engine_jax.state import graph_defs

_BATCH = 16  # images a call, at most
_ROWS = 32  # of a picture that are drawn at once


class AnomalyModel:
    """A trained run, ready for images.

    Attributes:
        settings: the run's configuration.
        thresholds: those that were chosen by held-out good images.

    Args:
        settings: as `settings`.
        thresholds: as `thresholds`.
        detect: takes a batch of uint8 images [b, s, s, 3] of the network's size.
    """

    def __init__(
        self,
        settings: AnomalyConfig,
        thresholds: Thresholds,
        detect: Callable[..., Detections],
    ):
        self.settings = settings
        self.thresholds = thresholds
        self._detect = detect

    def predict(
        self, images: Sequence[AnyImage] | AnyImage, thresholds: Thresholds | None = None
    ) -> list[Prediction]:
        """Anomaly maps, scores and decisions, at each image's own size.

        Args:
            images: uint8 RGB arrays [h, w, 3], PIL images or paths, of any sizes.
            thresholds: to decide by; by default the model's own.

        Raises:
            UserError: an array of another shape or type, or a file that can't be read.
        """
        settings = self.settings
        arrays = rgb_arrays(images, settings.data.white or None)
        if not arrays:
            return []
        framing = settings.data.framing(settings.model.input_size)
        pictures = map(Image.fromarray, arrays)  # One by one: each takes as much as its array.
        if framing.fit == "tiles":
            found = [
                tiled_image(self._batches, picture, framing, settings.scoring, settings.own_scores)
                for picture in pictures
            ]
        else:
            found = framed_images(
                self._batches, pictures, framing, settings.scoring, settings.own_scores
            )
        return [
            decide(image.map, image.score, thresholds or self.thresholds, spread=image.spread)
            for image in found
        ]

    def _batches(self, squares: UInt8[np.ndarray, "k s s 3"]) -> Detections:
        return map_batches(self._detect, squares, fitting_batch_size(len(squares), _BATCH))


def load(workdir: str | Path) -> AnomalyModel:
    """The model of a finished run: its best variables and its thresholds.

    Raises:
        UserError: when the folder holds no run, one of another task, an unfinished one, or another architecture's
            checkpoint.
    """
    folder = RunFolder(workdir)
    settings = folder.read_settings(SCHEMA)
    thresholds = _thresholds(folder)
    if settings.by_features:
        graphdef, variables = stored_detector(folder, settings)
        step = feature_detect_step
    else:
        build = partial(Detector, settings.detector)
        graphdef = graph_defs(build).evaluate
        variables = best_variables(folder, NAME, build, stack=settings.members)
        step = detect_step
    detect = jax.jit(partial(step, graphdef=graphdef, scoring=settings.scoring))
    return AnomalyModel(settings, thresholds, partial(detect, variables))


def _thresholds(folder: RunFolder) -> Thresholds:
    """The thresholds from good images that results.json holds."""
    stored = folder.read_finished().get("thresholds")
    chosen = stored.get(GOOD_ONLY) if isinstance(stored, dict) else None
    names = {field.name for field in fields(Thresholds)}
    if not (
        isinstance(chosen, dict)
        and chosen.keys() == names
        and all(value is None or type(value) in (int, float) for value in chosen.values())
    ):
        raise UserError(
            f"{folder.path / 'results.json'}: damaged (thresholds.{GOOD_ONLY} is {chosen!r})"
        )
    return Thresholds(**chosen)


def main(args: argparse.Namespace) -> None:
    """Prints a line of JSON for each image as soon as it is predicted, and writes predictions.json with all of them;
    for each image its map and its pictures, as far as they are wanted.
    """

    def load_model(workdir: str) -> AnomalyModel:
        model = load(workdir)
        given = {"pixel": args.threshold, "image": args.image_threshold}
        known = {level: value for level, value in given.items() if value is not None}
        model.thresholds = replace(model.thresholds, **known)
        return model

    entries = predict_files(
        args,
        load_model,
        lambda model, files, images: model.predict(images),
        partial(_write_image, maps=args.maps, pictures=args.pictures),
        lambda model: {"thresholds": asdict(model.thresholds)},
        white=lambda model: model.settings.data.white or None,
        line=json.dumps,
    )
    faulty = sum(bool(entry["pred_label"]) for entry in entries)
    print(
        f"{faulty} of {len(entries)} images are faulty: {Path(args.out) / 'predictions.json'}",
        file=sys.stderr,
    )


def _write_image(
    model: AnomalyModel,
    image: UInt8[np.ndarray, "h w 3"],
    prediction: Prediction,
    stem: Path,
    *,
    maps: str | None,
    pictures: str,
) -> dict[str, Any]:
    """Writes an image's map and pictures, as far as they are wanted, and returns its entry."""
    if maps == "npy":
        write_file(Path(f"{stem}_map.npy"), lambda file: np.save(file, prediction.anomaly_map))
    elif maps == "tiff":
        save_image(Image.fromarray(prediction.anomaly_map), Path(f"{stem}_map.tiff"), "TIFF")
    if pictures == "all" or (pictures == "faulty" and prediction.pred_label):
        _write_pictures(model, image, prediction, stem)
    mask = prediction.pred_mask
    return {
        "pred_score": prediction.pred_score,
        "pred_label": prediction.pred_label,
        "faulty_part": None if mask is None else float(mask.mean()),
        "regions": [region._asdict() for region in prediction.regions],
    }


def _write_pictures(
    model: AnomalyModel, image: UInt8[np.ndarray, "h w 3"], prediction: Prediction, stem: Path
) -> None:
    """Writes the heat map over the image, the mask, and the members' spread where there are several."""
    scale = 2 * (
        model.thresholds.pixel or 0.5
    )  # One scale for all images, with the threshold in its middle.
    save_image(_heat(image, prediction.anomaly_map, scale), Path(f"{stem}_heat.png"))
    if prediction.pred_mask is not None:
        save_image(Image.fromarray(prediction.pred_mask), Path(f"{stem}_mask.png"))
    if prediction.spread is not None and prediction.spread.any():
        save_image(_heat(image, prediction.spread, scale), Path(f"{stem}_spread.png"))


def _heat(
    image: UInt8[np.ndarray, "h w 3"], values: Float[np.ndarray, "h w"], scale: float
) -> Image.Image:
    """Colours for values from 0 to `scale` over the grey image, which shows through where they are low."""
    drawn = Image.new("RGB", (image.shape[1], image.shape[0]))
    for start in range(0, len(image), _ROWS):  # A large photo as a whole would take gigabytes.
        rows = slice(start, start + _ROWS)
        shares = (values[rows] / scale).clip(0, 1)[..., None]
        grey = np.repeat(image[rows].mean(-1, keepdims=True), 3, axis=-1)
        colours = 255 * colormaps["inferno"](shares[..., 0])[..., :3]
        cover = 0.35 + 0.45 * shares
        mixed = ((1 - cover) * grey + cover * colours).round().astype(np.uint8)
        drawn.paste(Image.fromarray(mixed), (0, start))
    return drawn


def parser() -> argparse.ArgumentParser:
    """The program's command line."""
    command = prediction_parser("anomaly_jax.predict", (__doc__ or "").splitlines()[0])
    command.add_argument(
        "--threshold", type=cli.finite, help="for pixels; default: the run's, from good images"
    )
    command.add_argument("--image-threshold", type=cli.finite, help="for image scores, likewise")
    command.add_argument(
        "--maps", choices=("npy", "tiff"), help="write each image's anomaly map, as 32-bit floats"
    )
    command.add_argument(
        "--pictures",
        choices=("none", "faulty", "all"),
        default="all",
        help="of which images to write NAME_heat.png and NAME_mask.png; default: all",
    )
    return command


if __name__ == "__main__":
    cli.run(main, parser())
