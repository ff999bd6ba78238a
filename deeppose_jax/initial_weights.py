"""Weights that a stage starts from instead of random ones: published, a trained model's, or the previous stage's."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import jax

from convnets_jax import zoo
from deeppose_jax.config import PoseConfig
from deeppose_jax.model_config import ModelConfig
from deeppose_jax.pose_model import load
from deeppose_jax.skeleton import Skeleton
from deeppose_jax.stages import network_of
from engine_jax.config import differences
from engine_jax.errors import UserError
from engine_jax.state import abstract_model, variables_by_name

_HEAD = "head."  # how the names of a head's arrays begin


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


def started_weights(settings: PoseConfig, skeleton: Skeleton) -> list[dict[str, jax.Array]]:
    """The arrays of each stage of the model `config.start.source`, by their names in a `Regressor`; none without one.

    A model of other joints than the skeleton's gives its backbones only.

    Raises:
        UserError: when there is no such model, too few of its stages are to be kept, or one of other joints.
    """
    start = settings.start
    if not start.source:
        return []
    model = load(None if start.source == "pretrained" else start.source)
    stages = [variables_by_name(network_of(stage)) for stage in model.cascade.stages]
    if start.keep > len(stages):
        raise UserError(
            f"config.start.keep: {start.keep}, {start.source} has {len(stages)} stages; accepted: at most {len(stages)}"
        )
    if model.skeleton.joints != skeleton.joints:
        if start.keep:
            raise UserError(
                f"config.start.keep: {start.keep}, but {start.source} is of other joints than the data; accepted: 0"
            )
        stages = [
            {name: array for name, array in stage.items() if not name.startswith(_HEAD)}
            for stage in stages
        ]
    for number in range(1, start.keep + 1):
        # What the source's training began from isn't asked of a stage that isn't trained again.
        there, here = (
            replace(each.stage(number).model, weights="") for each in (model.settings, settings)
        )
        if changed := differences(there, here):
            raise UserError(f"config.start.keep: {changed[0]}")
    return stages


def check_started(
    new: Mapping[str, jax.Array], started: Mapping[str, jax.Array], number: int
) -> None:
    """Checks that a stage can start from `started_weights`.

    Args:
        new: the stage's arrays by name, or their shapes.
        started: what it starts from; without a head it has been trained for other joints.
        number: of the stage.

    Raises:
        UserError: when they are of another architecture.
    """
    whole = any(name.startswith(_HEAD) for name in started)
    for name in sorted(new.keys() | started.keys()):
        if name.startswith(_HEAD) and not whole:
            continue
        shapes = [arrays[name].shape if name in arrays else "missing" for arrays in (started, new)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"config.start.source: {name} of its stage {number} is {shapes[0]}, this configuration's {shapes[1]}; "
                "accepted: a model of the same networks"
            )


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
