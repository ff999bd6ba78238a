"""Weights that a stage starts from instead of random ones: published ones, or those of the stage before it."""

from collections.abc import Mapping
from functools import partial

import jax

from convnets_jax import zoo
from deeppose_jax.model_config import ModelConfig
from engine_jax.errors import UserError
from engine_jax.state import abstract_model, variables_by_name


def published_weights(config: ModelConfig) -> dict[str, jax.Array]:
    """The arrays of the file `config.weights`, by their names in a `Regressor`.

    Raises:
        UserError: when the file can't be read, or holds another architecture.
    """
    # Imported late: training from random weights doesn't need its reader of files.
    from convnets_jax import torchvision

    features = abstract_model(partial(zoo.create_features, config.zoo_name))
    torchvision.load(features, config.weights)
    place = "backbone.bottom_up" if config.top_down else "backbone"
    return {f"{place}.{name}": array for name, array in variables_by_name(features).items()}


def previous_weights(
    new: Mapping[str, jax.Array], previous: Mapping[str, jax.Array], number: int
) -> dict[str, jax.Array]:
    """What stage `number` can take from the stage before it: its backbone, and its head where that has the same shape.

    Args:
        new: the stage's arrays by name, or their shapes; "per_joint" refiners have a leading joint axis.
        previous: those of the stage before it.
        number: of the stage.

    Raises:
        UserError: when the backbones are of different architectures.
    """
    taken = {}
    for name, array in new.items():
        source = previous.get(name)
        if source is not None and source.shape in (array.shape, array.shape[1:]):
            taken[name] = source
        elif name.startswith("backbone"):
            found = "missing" if source is None else source.shape
            raise UserError(
                "config.refiner.initial_weights: 'previous' takes the same backbone in config.model and "
                f"config.refiner.model; {name} of stage {number - 1} is {found}, of stage {number} {array.shape}"
            )
    return taken
