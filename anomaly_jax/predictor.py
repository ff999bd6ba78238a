"""Applies detectors to images: anomaly maps, image scores and losses."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt8

from anomaly_jax.config import AnomalyConfig
from anomaly_jax.detector import as_values, detector_losses, detector_maps
from anomaly_jax.folds import of_held_out
from anomaly_jax.scoring import ScoringConfig, image_score
from anomaly_jax.train_step import painted
from engine_jax import sharding
from engine_jax.batches import map_batches
from engine_jax.stacked import over_stack
from engine_jax.state import Variables


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Detections:
    """Ensemble predictions for n images: means over the members, and their standard deviation; of images that a member
    holds out, see `anomaly_jax.folds`, that member's alone.

    Attributes:
        maps: anomaly maps at the network's size, in [0, 1]; "padim"'s and "patchcore"'s are distances.
        spread: standard deviation of the members' maps, 0 for one member; None without networks that are trained.
        scores: of whole images.
        reconstructions: the autoencoders', in [0, 1]; None without them.
    """

    maps: Float[Any, "n s s"]
    spread: Float[Any, "n s s"] | None
    scores: Float[Any, " n"]
    reconstructions: Float[Any, "n s s 3"] | None


def detect_step(
    variables: Variables,
    images: UInt8[Array, "b s s 3"],
    folds: Int[Array, " b"] | None = None,
    *,
    graphdef: nnx.GraphDef,
    scoring: ScoringConfig,
) -> Detections:
    """Maps and scores of one batch.

    Args:
        variables: have a leading member axis.
        images: one batch.
        folds: of the images, -1 for those that no member holds out; by default of all.
        graphdef: of one detector.
        scoring: of the run.
    """
    values = as_values(images)

    def member(variables: Variables) -> tuple[Array, Array]:
        output = nnx.merge(graphdef, variables.params, variables.model_state)(values)
        return detector_maps(values, output, scoring), output.reconstructions.clip(0, 1)

    maps, reconstructions = over_stack(member, variables)  # [m, b, s, s], [m, b, s, s, 3]
    if folds is None:
        folds = jnp.full(len(values), -1)
    found = of_held_out(maps, folds)
    scores = image_score(found, scoring.image, part=scoring.top)
    return Detections(found, maps.std(0), scores, of_held_out(reconstructions, folds))


def loss_step(
    variables: Variables,
    images: UInt8[Array, "b s s 3"],
    folds: Int[Array, " b"],
    numbers: Int[Array, " b"],
    key: jax.Array,
    *,
    graphdef: nnx.GraphDef,
    settings: AnomalyConfig,
) -> Float[Array, " b"]:
    """The training loss of each good image, not augmented but with painted faults: means over the members, or that of
    the one that holds the image out.

    Args:
        variables: have a leading member axis.
        images: one batch.
        folds: of the images, -1 for those that no member holds out.
        numbers: the number of the batch, once for each image.
        key: of the painted faults, which differ from batch to batch.
    """
    samples = painted(jax.random.fold_in(key, numbers[0]), as_values(images), settings)

    def member(variables: Variables) -> Float[Array, " b"]:
        model = nnx.merge(graphdef, variables.params, variables.model_state)
        return detector_losses(
            model(samples.inputs), samples.targets, samples.faults, settings.loss
        )

    return of_held_out(over_stack(member, variables), folds)


class Predictor:
    """Applies detectors to images of any number, in padded batches divided among the devices.

    Args:
        graphdef: one detector in its evaluation form.
        settings: of the run.
        mesh: the devices.
    """

    def __init__(self, graphdef: nnx.GraphDef, settings: AnomalyConfig, mesh: Mesh):
        everywhere = sharding.replicated(mesh)
        detect = partial(detect_step, graphdef=graphdef, scoring=settings.scoring)
        losses = partial(loss_step, graphdef=graphdef, settings=settings)
        self._detect = jax.jit(detect, out_shardings=everywhere)
        self._losses = jax.jit(losses, out_shardings=everywhere)
        self._batching = settings.evaluation.batch_size, sharding.split(mesh)

    def detect(
        self,
        variables: Variables,
        images: UInt8[np.ndarray, "n s s 3"],
        folds: Int[np.ndarray, " n"] | None = None,
    ) -> Detections:
        """Ensemble predictions for images, whose `folds` say which members hold them out.

        The variables have a leading member axis.
        """

        def step(batch: tuple[Array, Array]) -> Detections:
            return self._detect(variables, *batch)

        return map_batches(step, (images, _or_none(folds, images)), *self._batching)

    def losses(
        self,
        variables: Variables,
        images: UInt8[np.ndarray, "n s s 3"],
        key: jax.Array,
        folds: Int[np.ndarray, " n"] | None = None,
    ) -> Float[np.ndarray, " n"]:
        """The loss of each good image; painted faults are the same for the same key."""
        batch_size, _ = self._batching
        numbers = np.arange(len(images), dtype=np.int32) // batch_size

        def step(batch: tuple[Array, Array, Array]) -> Array:
            return self._losses(variables, *batch, key)

        return map_batches(step, (images, _or_none(folds, images), numbers), *self._batching)


def _or_none(
    folds: Int[np.ndarray, " n"] | None, images: UInt8[np.ndarray, "n s s 3"]
) -> Int[np.ndarray, " n"]:
    """The folds, or -1 for every image."""
    return np.full(len(images), -1, np.int32) if folds is None else folds
