"""Applies detectors to images: anomaly maps, image scores and losses."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt8

from anomaly_jax.config import AnomalyConfig
from anomaly_jax.detector import as_values, detector_losses, detector_maps
from anomaly_jax.scoring import ScoringConfig, image_score
from anomaly_jax.train_step import painted
from engine_jax import sharding
from engine_jax.batches import map_batches
from engine_jax.stacked import over_stack
from engine_jax.state import Variables


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Detections:
    """Ensemble predictions for n images: means over the members, and their standard deviation.

    Attributes:
        maps: anomaly maps in [0, 1], at the network's size.
        spread: standard deviation of the members' maps, 0 for one member.
        scores: of whole images.
        reconstructions: the autoencoders', in [0, 1].
    """

    maps: Float[Any, "n s s"]
    spread: Float[Any, "n s s"]
    scores: Float[Any, " n"]
    reconstructions: Float[Any, "n s s 3"]


def detect_step(
    variables: Variables,
    images: UInt8[Array, "b s s 3"],
    *,
    graphdef: nnx.GraphDef,
    scoring: ScoringConfig,
) -> Detections:
    """Maps and scores of one batch; the variables have a leading member axis."""
    values = as_values(images)

    def member(variables: Variables) -> tuple[Array, Array]:
        output = nnx.merge(graphdef, variables.params, variables.model_state)(values)
        return detector_maps(values, output, scoring), output.reconstructions.clip(0, 1)

    maps, reconstructions = over_stack(member, variables)  # [m, b, s, s], [m, b, s, s, 3]
    mean = maps.mean(0)
    scores = image_score(mean, scoring.image, part=scoring.top)
    return Detections(mean, maps.std(0), scores, reconstructions.mean(0))


def loss_step(
    variables: Variables,
    images: UInt8[Array, "b s s 3"],
    numbers: Int[Array, " b"],
    key: jax.Array,
    *,
    graphdef: nnx.GraphDef,
    settings: AnomalyConfig,
) -> Float[Array, " b"]:
    """The training loss of each good image, not augmented but with painted faults; means over the members.

    Args:
        variables: have a leading member axis.
        images: one batch.
        numbers: the number of the batch, once for each image.
        key: of the painted faults, which differ from batch to batch.
    """
    samples = painted(jax.random.fold_in(key, numbers[0]), as_values(images), settings)

    def member(variables: Variables) -> Float[Array, " b"]:
        model = nnx.merge(graphdef, variables.params, variables.model_state)
        return detector_losses(
            model(samples.inputs), samples.targets, samples.faults, settings.loss
        )

    return over_stack(member, variables).mean(0)


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
        self._batch_size = settings.evaluation.batch_size
        self._batches = sharding.split(mesh)

    def detect(self, variables: Variables, images: UInt8[np.ndarray, "n s s 3"]) -> Detections:
        """Ensemble predictions for images; the variables have a leading member axis."""
        step = partial(self._detect, variables)
        return map_batches(step, images, self._batch_size, self._batches)

    def losses(
        self, variables: Variables, images: UInt8[np.ndarray, "n s s 3"], key: jax.Array
    ) -> Float[np.ndarray, " n"]:
        """The loss of each good image; painted faults are the same for the same key."""
        numbers = np.arange(len(images), dtype=np.int32) // self._batch_size

        def step(batch: tuple[Array, Array]) -> Array:
            return self._losses(variables, *batch, key)

        return map_batches(step, (images, numbers), self._batch_size, self._batches)
