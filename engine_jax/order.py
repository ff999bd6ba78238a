"""Orders of samples that a seed chooses: the same on every machine, and in a resumed run."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Int


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`."""
    return max(divisor for divisor in range(1, min(number, limit) + 1) if number % divisor == 0)


def epoch_order(entropy: Sequence[int], epoch: int, size: int) -> Int[np.ndarray, " size"]:
    """The order in which an epoch visits a data set of `size` samples; `entropy` seeds it."""
    return np.random.default_rng([*entropy, epoch]).permutation(size)


def balanced_order(
    entropy: Sequence[int], epoch: int, classes: Int[np.ndarray, " size"]
) -> Int[np.ndarray, " size"]:
    """An epoch's order in which all classes come equally often, in runs that hold each class once.

    Samples of small classes come several times, and of large ones some are left out, others in each epoch.
    """
    random = np.random.default_rng([*entropy, epoch])
    present = np.unique(classes)
    rounds = -(-len(classes) // len(present))
    drawn = []
    for number in present:
        members = np.flatnonzero(classes == number)
        repeats = -(-rounds // len(members))
        drawn.append(np.concatenate([random.permutation(members) for _ in range(repeats)])[:rounds])
    order = random.permuted(np.stack(drawn, 1), axis=1)  # [rounds, classes]
    return order.reshape(-1)[: len(classes)]


class SampleOrder:
    """Which samples each step of a training takes.

    An epoch is size // batch_size steps; the samples left over at the end of its order are skipped.

    Args:
        entropy: seeds the order.
        size: how many samples there are.
        batch_size: samples a step.
        balance: the samples' classes, for a `balanced_order`; None is an `epoch_order`.
    """

    def __init__(
        self,
        entropy: Sequence[int],
        size: int,
        batch_size: int,
        balance: Int[np.ndarray, " size"] | None = None,
    ):
        self._batch_size, self._steps_per_epoch = batch_size, size // batch_size

        def order(epoch: int) -> np.ndarray:
            if balance is None:
                return epoch_order(entropy, epoch, size)
            return balanced_order(entropy, epoch, balance)

        # Samples that are read ahead may be of the next epoch.
        self._order = lru_cache(maxsize=2)(order)

    def __call__(self, steps: range) -> Int[np.ndarray, "steps batch_size"]:
        """The samples of steps, counted from 0, of one epoch.

        Raises:
            ValueError: when they are of several.
        """
        epoch, first = divmod(steps.start, self._steps_per_epoch)
        if first + len(steps) > self._steps_per_epoch:
            raise ValueError(
                f"{len(steps)} steps from step {steps.start} reach beyond an epoch of {self._steps_per_epoch}"
            )
        places = slice(first * self._batch_size, (first + len(steps)) * self._batch_size)
        return self._order(epoch)[places].reshape(len(steps), -1).astype(np.int32)


def padded_batches(
    size: int, batch_size: int, multiple: int = 1
) -> tuple[Int[np.ndarray, "n padded"], Int[np.ndarray, "n"]]:
    """Every sample once, in order, in batches of one size.

    Args:
        size: how many samples there are.
        batch_size: samples a batch.
        multiple: batches get more places, until their number is a multiple of this.

    Returns:
        indices: [batches, places], which repeat sample 0 in the places that are left.
        valid: [batches], how many samples from the front of each batch count.
    """
    batches, places = -(-size // batch_size), multiple * -(-batch_size // multiple)
    valid = np.minimum(batch_size, size - batch_size * np.arange(batches))
    indices = batch_size * np.arange(batches)[:, None] + np.arange(places)
    return np.where(np.arange(places) < valid[:, None], indices, 0).astype(np.int32), valid


def shuffled(count: int, seed: int, start: int = 0) -> Int[np.ndarray, " count"]:
    """range(count) in an order that a seed chooses, the same on every machine.

    Args:
        count: how many numbers.
        seed: any integer from 0.
        start: how many of the seed's random numbers to pass over, where several orders are drawn from one seed.
    """
    # Philox's raw bits are the same in every NumPy, which Generator's methods don't promise.
    bits = np.random.Philox(seed).random_raw(start + count)[start:]
    return np.argsort(bits, kind="stable")
