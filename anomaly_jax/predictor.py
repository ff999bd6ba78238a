"""Detectors applied to images of any number, batch by batch: anomaly maps and image scores."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from anomaly_jax import scoring
from anomaly_jax.config import AnomalyConfig
from anomaly_jax.detector import as_values, detector_losses, detector_maps
from anomaly_jax.train_step import painted
from engine_jax import sharding
from engine_jax.order import padded_batches
from engine_jax.stacked import over_stack


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Detections:
    """What the members say about n images; means over them, but for `spread`.

    Attributes:
        maps: anomaly maps in [0, 1], at the network's size.
        spread: standard deviation of the members' maps, 0 for one member.
        scores: of whole images.
        reconstructions: what the autoencoders give back, in [0, 1].
    """

    maps: Float[Any, "n s s"]
    spread: Float[Any, "n s s"]
    scores: Float[Any, " n"]
    reconstructions: Float[Any, "n s s 3"]


def detect_step(
    params: Any,
    model_state: Any,
    images: UInt8[Array, "b s s 3"],
    *,
    graphdef: nnx.GraphDef,
    settings: AnomalyConfig,
) -> Detections:
    """Maps and scores of one batch; the variables have a leading member axis."""
    values = as_values(images)

    def member(variables: tuple[Any, Any]) -> tuple[Array, Array]:
        output = nnx.merge(graphdef, *variables)(values)
        return detector_maps(values, output, settings.scoring), output.reconstructions.clip(0, 1)

    maps, reconstructions = over_stack(member, (params, model_state))  # [m, b, s, s], [m, ..., 3]
    mean = maps.mean(0)
    scores = scoring.image_score(mean, settings.scoring.image, part=settings.scoring.top)
    return Detections(mean, maps.std(0), scores, reconstructions.mean(0))


def loss_step(
    params: Any,
    model_state: Any,
    images: UInt8[Array, "b s s 3"],
    key: jax.Array,
    *,
    graphdef: nnx.GraphDef,
    settings: AnomalyConfig,
) -> Float[Array, " b"]:
    """The training loss of each good image, as it is but for painted faults; means over the members."""
    samples = painted(key, as_values(images), settings)

    def member(variables: tuple[Any, Any]) -> Float[Array, " b"]:
        output = nnx.merge(graphdef, *variables)(samples.inputs)
        return detector_losses(output, samples.targets, samples.faults, settings.loss)

    return over_stack(member, (params, model_state)).mean(0)


class Predictor:
    """Runs detectors over images of any number, in padded batches split over the devices.

    Args:
        graphdef: one detector in its evaluation form.
        settings: of the run.
        mesh: the devices.
    """

    def __init__(self, graphdef: nnx.GraphDef, settings: AnomalyConfig, mesh: Mesh):
        self._batch_size = settings.evaluation.batch_size
        self._batches = sharding.split(mesh)
        everywhere = sharding.replicated(mesh)
        fixed = {"graphdef": graphdef, "settings": settings}
        self._detect = jax.jit(partial(detect_step, **fixed), out_shardings=everywhere)
        self._losses = jax.jit(partial(loss_step, **fixed), out_shardings=everywhere)

    def detect(
        self, params: Any, model_state: Any, images: UInt8[np.ndarray, "n s s 3"]
    ) -> Detections:
        """What the members with these variables say about images."""
        return self._over(images, lambda batch, _: self._detect(params, model_state, batch))

    def losses(
        self, params: Any, model_state: Any, images: UInt8[np.ndarray, "n s s 3"], seed: int
    ) -> Float[np.ndarray, " n"]:
        """The loss of each good image; painted faults are the same each time."""
        key = jax.random.key(seed)
        return self._over(
            images,
            lambda batch, i: self._losses(params, model_state, batch, jax.random.fold_in(key, i)),
        )

    def _over(self, images: np.ndarray, step: Any) -> Any:
        outputs = []
        batches = zip(*padded_batches(len(images), self._batch_size), strict=True)
        for i, (indices, valid) in enumerate(batches):
            found = jax.device_get(step(sharding.place(images[indices], self._batches), i))
            outputs.append(jax.tree.map(lambda array, count=valid: array[:count], found))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *outputs)
