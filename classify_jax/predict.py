"""Classes of one's own images, from Python (`load(workdir).predict(images)`) or from the command line.

python -m classify_jax.predict --workdir RUN IMAGE_OR_FOLDER... --out DIR
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8
from PIL import Image

from classify_jax.config import ClassificationConfig
from classify_jax.data.pixels import fit
from classify_jax.networks import build
from classify_jax.predictor import Predictor
from classify_jax.training import PART, named_phases
from classify_jax.views import views
from engine_jax import cli, sharding
from engine_jax.config import from_mapping
from engine_jax.image_files import decoded, image_paths
from engine_jax.images import check_rgb
from engine_jax.loop import best_variables
from engine_jax.run_folder import RunFolder
from engine_jax.state import graph_defs

_TOP = 5  # classes of each image in predictions.json
_BATCH = 16  # images a call, for each device


@dataclass(frozen=True)
class Prediction:
    """What one image shows.

    Attributes:
        label: the most probable class.
        probability: of it.
        probabilities: of all classes.
    """

    label: str
    probability: float
    probabilities: Float[np.ndarray, " k"]


class Classifier:
    """A trained run, ready for images.

    Attributes:
        settings: the run's configuration.
        class_names: in the order of the probabilities.
    """

    def __init__(
        self,
        settings: ClassificationConfig,
        class_names: Sequence[str],
        graphdef: nnx.GraphDef,
        params: Any,
        model_state: Any,
    ):
        self.settings = settings
        self.class_names = tuple(class_names)
        mesh = sharding.device_mesh()
        weights = np.ones(len(self.class_names), np.float32)
        size, evaluation = settings.model.input_size, settings.evaluation
        predictor = Predictor(graphdef, size, weights, _BATCH * mesh.size, mesh)
        self._predict = partial(predictor, params, model_state)
        self._views = views(settings.data.size, size, evaluation.crops, evaluation.mirror)

    def predict(self, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[Prediction]:
        """What each image shows, by the mean over the views that the run's config names.

        Args:
            images: RGB images of any sizes.

        Raises:
            UserError: an image of another shape or type.
        """
        check_rgb(images)
        if not len(images):
            return []
        kept = np.stack([fit(Image.fromarray(image), self.settings.data.size) for image in images])
        found = self._predict(kept, np.zeros(len(kept), np.int32), self._views).probabilities
        return [Prediction(self.class_names[row.argmax()], float(row.max()), row) for row in found]


def load(workdir: str | Path) -> Classifier:
    """The best parameters of a finished run.

    Raises:
        UserError: when the folder holds no run, an unfinished one, or another architecture's checkpoint.
    """
    folder = RunFolder(workdir)
    settings = from_mapping(ClassificationConfig, folder.read_config())
    classes = folder.read_finished()["classes"]
    network = partial(build, settings.model, len(classes))
    trained = named_phases(settings)[-1].trained
    variables = best_variables(folder, PART, network, trained=trained)
    return Classifier(settings, classes, graph_defs(network).evaluate, *variables)


def main(args: argparse.Namespace) -> None:
    """Writes predictions.json and prints a line for each image."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    paths = image_paths(args.images)
    model = load(args.workdir)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    entries = []
    for path, image in decoded(paths, skip_unreadable=args.skip_unreadable):
        entries.append(_entry(path, model.predict([image])[0], model.class_names))
        print(f"{path}: {entries[-1]['label']} {100 * entries[-1]['probability']:.1f} %")
    (out / "predictions.json").write_text(json.dumps({"predictions": entries}, indent=2) + "\n")


def _entry(path: Path, found: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    """One image's part of predictions.json."""
    order = np.argsort(-found.probabilities, kind="stable")[:_TOP]
    return {
        "file": str(path),
        "label": found.label,
        "probability": found.probability,
        "top": {class_names[k]: float(found.probabilities[k]) for k in order},
    }


def parser() -> argparse.ArgumentParser:
    """The program's command line."""
    description = (__doc__ or "").splitlines()[0]
    return cli.prediction_parser("classify_jax.predict", description)


if __name__ == "__main__":
    cli.run(main, parser())
