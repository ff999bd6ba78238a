"""Classifies images, from Python (`load(workdir).predict(images)`) or from the command line.

python -m classify_jax.predict --workdir RUN IMAGE_OR_FOLDER... --out DIR
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Float
from PIL import Image

from classify_jax.config import SCHEMA, ClassificationConfig
from classify_jax.data.pixels import fit
from classify_jax.networks import build
from classify_jax.predictor import Predictor
from classify_jax.training import NAME
from classify_jax.views import views
from engine_jax import cli
from engine_jax.batches import fitting_batch_size
from engine_jax.errors import UserError
from engine_jax.loop import best_variables
from engine_jax.prediction import AnyImage, predict_files, prediction_parser, rgb_arrays
from engine_jax.run_folder import RunFolder
from engine_jax.state import Variables, graph_defs

_TOP = 5  # classes of each image in predictions.json
_BATCH = 16  # images a call, at most


@dataclass(frozen=True)
class Prediction:
    """The class of one image.

    Attributes:
        label: the most probable class.
        probability: of that class.
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
        variables: Variables,
    ):
        self.settings = settings
        self.class_names = tuple(class_names)
        size, evaluation = settings.model.input_size, settings.evaluation
        weights = np.ones(len(self.class_names), np.float32)
        self._predict = partial(Predictor(graphdef, size, weights), variables)
        self._views = views(settings.data.size, size, evaluation.crops, evaluation.mirror)

    def predict(self, images: Sequence[AnyImage] | AnyImage) -> list[Prediction]:
        """Each image's class, by the mean over the views that the run's config names.

        Args:
            images: uint8 RGB arrays [h, w, 3], PIL images or paths, of any sizes.

        Raises:
            UserError: an array of another shape or type, or a file that can't be read.
        """
        arrays = rgb_arrays(images)
        if not arrays:
            return []
        kept = np.stack([fit(Image.fromarray(array), self.settings.data.size) for array in arrays])
        labels = np.zeros(len(kept), np.int32)
        batch_size = fitting_batch_size(len(kept), _BATCH)
        found = self._predict(kept, labels, self._views, batch_size).probabilities
        return [Prediction(self.class_names[row.argmax()], float(row.max()), row) for row in found]


def load(workdir: str | Path) -> Classifier:
    """The model of a finished run with its best variables.

    Raises:
        UserError: when the folder holds no run, one of another task, an unfinished one, or another architecture's
            checkpoint.
    """
    folder = RunFolder(workdir)
    settings = folder.read_settings(SCHEMA)
    classes: Any = folder.read_finished().get("classes")
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if not (named and len(set(classes)) == len(classes) > 0):
        raise UserError(f"{folder.path / 'results.json'}: damaged (its classes are {classes!r})")
    network = partial(build, settings.model, len(classes))
    trained = settings.transfer.trained_at_end
    variables = best_variables(folder, NAME, network, trained=trained)
    return Classifier(settings, classes, graph_defs(network).evaluate, variables)


def main(args: argparse.Namespace) -> None:
    """Writes predictions.json and prints a line for each image."""
    predict_files(args, load, lambda model, files, images: model.predict(images), _entry)


def _entry(model: Classifier, image: np.ndarray, found: Prediction, stem: Path) -> dict[str, Any]:
    """One image's part of predictions.json."""
    del image
    print(f"{stem.name}: {found.label} {100 * found.probability:.1f} %")
    order = np.argsort(-found.probabilities, kind="stable")[:_TOP]
    return {
        "label": found.label,
        "probability": found.probability,
        "top": {model.class_names[k]: float(found.probabilities[k]) for k in order},
    }


def parser() -> argparse.ArgumentParser:
    """The program's command line."""
    description = (__doc__ or "").splitlines()[0]
    return prediction_parser("classify_jax.predict", description)


if __name__ == "__main__":
    cli.run(main, parser())
