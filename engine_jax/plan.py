"""How long a network is trained."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from jax.sharding import Mesh

from engine_jax.config import AtLeastOne, AtLeastZero, Range
from engine_jax.errors import UserError
from engine_jax.order import largest_divisor

Size = Annotated[int, AtLeastOne]
# Images of an evaluation's batch; each is padded to this size, and more would fill memory after training.
BatchSize = Annotated[int, Range(1, 100_000)]

_MOST_STEPS = 2**31 - 1  # which the state counts in 32 bits


@dataclass(frozen=True)
class TrainConfig:
    """The training loop, as a config file gives it.

    Attributes:
        epochs: passes over the training part, at most.
        batch_size: images a step, over all devices.
        steps_per_call: optimiser steps that one call of the jitted function takes, at most, all of one epoch; one on
            CPU, where loops are slow.
        patience: evaluations without a better one, normally a lower validation loss, before training stops; 0 trains
            all epochs.
    """

    epochs: Size
    batch_size: Size
    steps_per_call: Size
    patience: Annotated[int, AtLeastZero]


@dataclass(frozen=True)
class Plan:
    """How long to train a data set.

    Attributes:
        steps: optimiser steps in all, at most.
        steps_per_epoch: optimiser steps an epoch.
        steps_per_call: steps that one train call takes; the last one of an epoch takes those that are left.
        evaluate_every: epochs between two evaluations; the last step is always followed by one.
        patience: stop after this many evaluations without a better one; 0 never stops.
        batch_size: images a step, for images/s.
    """

    steps: int
    steps_per_epoch: int
    steps_per_call: int
    evaluate_every: int
    patience: int
    batch_size: int

    def stretch(self, steps: int) -> "Plan":
        """The plan for a part of the steps."""
        return replace(self, steps=steps)

    def calls(self, done: int) -> Iterator[range]:
        """The train calls that follow `done` steps, as the steps that each one takes, counted from 0."""
        while done < self.steps:
            call = self.call(done)
            yield call
            done = call.stop

    def call(self, done: int) -> range:
        """The steps of the train call that follows `done` steps.

        Wherever an interrupted epoch is resumed, its later calls are those of an uninterrupted one.
        """
        within = done % self.steps_per_epoch
        epoch = done - within
        stop = within - within % self.steps_per_call + self.steps_per_call
        return range(done, min(epoch + min(stop, self.steps_per_epoch), self.steps))


def in_epochs(steps: int, steps_per_epoch: int) -> float:
    """Steps as epochs, to four decimals; an int where they are whole epochs."""
    epochs, rest = divmod(steps, steps_per_epoch)
    return round(steps / steps_per_epoch, 4) if rest else epochs


def make_plan(
    train: TrainConfig, evaluate_every: int, size: int, mesh: Mesh, field: str = "config"
) -> Plan:
    """The plan for a training part of `size` images.

    Args:
        train: how long.
        evaluate_every: epochs between two evaluations.
        size: of the training part.
        mesh: the devices that train.
        field: where the configuration holds `train`.

    Raises:
        UserError: when the training part is less than a batch, or the steps are more than can be counted.
    """
    if train.batch_size > size:
        raise UserError(
            f"{field}.train.batch_size: {train.batch_size} is more than the {size} training images; "
            f"accepted: at most {size}"
        )
    steps = size // train.batch_size
    if train.epochs * steps > _MOST_STEPS:
        raise UserError(
            f"{field}.train.epochs: {train.epochs} of {steps} steps; accepted: at most {_MOST_STEPS // steps}"
        )
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return Plan(
        steps=train.epochs * steps,
        steps_per_epoch=steps,
        steps_per_call=1 if on_cpu else steps_in_a_call(steps, train.steps_per_call),
        evaluate_every=evaluate_every,
        patience=train.patience,
        batch_size=train.batch_size,
    )


def steps_in_a_call(steps_per_epoch: int, limit: int) -> int:
    """At most `limit`; rather half as many than a shorter last call of each epoch, a second program to compile."""
    divisor = largest_divisor(steps_per_epoch, limit)
    return divisor if 2 * divisor >= limit else min(limit, steps_per_epoch)
