"""Faults in one's own images, from Python (`load(workdir).predict(images)`) or from the command line.

python -m anomaly_jax.predict --workdir RUN IMAGE_OR_FOLDER... --out DIR [--threshold X] [--image-threshold Y]
"""

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from PIL import Image

from anomaly_jax.config import AnomalyConfig
from anomaly_jax.data.pixels import fit
from anomaly_jax.detector import Detector
from anomaly_jax.predictor import Detections, detect_step
from anomaly_jax.scoring import Prediction, decide, resize_map
from anomaly_jax.thresholds import Thresholds
from anomaly_jax.training import PART
from engine_jax import cli
from engine_jax.config import from_mapping
from engine_jax.image_files import decoded, image_paths
from engine_jax.images import check_rgb
from engine_jax.loop import best_variables
from engine_jax.order import padded_batches
from engine_jax.run_folder import RunFolder
from engine_jax.state import graph_defs

_BATCH = 16  # images a call, at most


class AnomalyModel:
    """A trained run, ready for images.

    Attributes:
        settings: the run's configuration.
        thresholds: those that were chosen on held-out good images.
    """

    def __init__(
        self,
        settings: AnomalyConfig,
        thresholds: Thresholds,
        graphdef: nnx.GraphDef,
        params: Any,
        model_state: Any,
    ):
        self.settings = settings
        self.thresholds = thresholds
        detect = jax.jit(partial(detect_step, graphdef=graphdef, settings=settings))
        self._detect = partial(detect, params, model_state)

    def predict(
        self, images: Sequence[UInt8[np.ndarray, "h w 3"]], thresholds: Thresholds | None = None
    ) -> list[Prediction]:
        """What is found in each image, at the image's own size.

        Args:
            images: RGB images of any sizes.
            thresholds: to decide by; by default the model's own.

        Raises:
            UserError: an image of another shape or type.
        """
        check_rgb(images)
        return [
            decide(
                resize_map(found.maps[0], image.shape[:2]),
                float(found.scores[0]),
                thresholds or self.thresholds,
                spread=resize_map(found.spread[0], image.shape[:2]),
            )
            for image, found in zip(images, self._detections(images), strict=True)
        ]

    def _detections(self, images: Sequence[np.ndarray]) -> Iterator[Detections]:
        """Of one image after the other."""
        if not len(images):
            return
        size = self.settings.model.input_size
        # A power of two: few sizes to compile, and a single image isn't padded to a whole batch.
        batch_size = min(_BATCH, 1 << (len(images) - 1).bit_length())
        for indices, valid in zip(*padded_batches(len(images), batch_size), strict=True):
            batch = np.stack([fit(Image.fromarray(images[i]), size) for i in indices])
            found = jax.device_get(self._detect(batch))
            for i in range(valid):
                yield jax.tree.map(lambda array, i=i: array[i : i + 1], found)


def load(workdir: str | Path) -> AnomalyModel:
    """The best parameters of a finished run, and its thresholds.

    Raises:
        UserError: when the folder holds no run, an unfinished one, or another architecture's checkpoint.
    """
    folder = RunFolder(workdir)
    settings = from_mapping(AnomalyConfig, folder.read_config())
    results = folder.read_finished()
    build = partial(Detector, settings)
    variables = best_variables(folder, PART, build, stack=settings.members)
    thresholds = Thresholds(**results["thresholds"]["good_only"])
    return AnomalyModel(settings, thresholds, graph_defs(build).evaluate, *variables)


def main(args: argparse.Namespace) -> None:
    """Writes predictions.json, and for each image its heat map and its mask."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    paths = image_paths(args.images)
    model = load(args.workdir)
    thresholds = model.thresholds
    if args.threshold is not None:
        thresholds = replace(thresholds, pixel=args.threshold)
    if args.image_threshold is not None:
        thresholds = replace(thresholds, image=args.image_threshold)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    found = []
    for path, image in decoded(paths, skip_unreadable=args.skip_unreadable):
        prediction = model.predict([image], thresholds)[0]
        found.append(_entry(path, prediction))
        name = f"{len(found):05d}_{path.stem}"
        _write_pictures(image, prediction, thresholds, out / name)
    written = {
        "thresholds": {"pixel": thresholds.pixel, "image": thresholds.image},
        "predictions": found,
    }
    (out / "predictions.json").write_text(json.dumps(written, indent=2) + "\n")
    faulty = sum(bool(entry["pred_label"]) for entry in found)
    print(f"{faulty} of {len(found)} images are faulty: {out / 'predictions.json'}")
    print("beside it, for each image: NAME_heat.png and NAME_mask.png")


def _entry(path: Path, prediction: Prediction) -> dict[str, Any]:
    """One image's part of predictions.json."""
    mask = prediction.pred_mask
    return {
        "file": str(path),
        "pred_score": prediction.pred_score,
        "pred_label": prediction.pred_label,
        "faulty_part": None if mask is None else float(mask.mean()),
    }


def _write_pictures(
    image: UInt8[np.ndarray, "h w 3"], prediction: Prediction, thresholds: Thresholds, stem: Path
) -> None:
    """The heat map over the image, the mask, and the members' spread where there are several."""
    scale = 2 * (thresholds.pixel or 0.5)  # One scale for all images: the threshold is its middle.
    _heat(image, prediction.anomaly_map / scale).save(f"{stem}_heat.png")
    if prediction.pred_mask is not None:
        Image.fromarray(prediction.pred_mask).save(f"{stem}_mask.png")
    if prediction.spread is not None and prediction.spread.any():
        _heat(image, prediction.spread / scale).save(f"{stem}_spread.png")


def _heat(image: UInt8[np.ndarray, "h w 3"], values: Float[np.ndarray, "h w"]) -> Image.Image:
    """Colours for values from 0 to 1 over the grey image, which shows through where they are low."""
    values = values.clip(0, 1)[..., None]
    grey = np.repeat(image.mean(-1, keepdims=True), 3, axis=-1)
    colours = 255 * colormaps["inferno"](values[..., 0])[..., :3]
    cover = 0.35 + 0.45 * values
    return Image.fromarray(((1 - cover) * grey + cover * colours).round().astype(np.uint8))


def parser() -> argparse.ArgumentParser:
    """The program's command line."""
    command = cli.prediction_parser("anomaly_jax.predict", (__doc__ or "").splitlines()[0])
    command.add_argument(
        "--threshold", type=float, help="for pixels; default: the run's, from good images"
    )
    command.add_argument("--image-threshold", type=float, help="for image scores, likewise")
    return command


if __name__ == "__main__":
    cli.run(main, parser())
