"""Orders of samples that a seed chooses: the same on every machine, and in a resumed run."""

from collections.abc import Sequence

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


def step_indices(
    entropy: Sequence[int],
    step: int,
    count: int,
    size: int,
    batch_size: int,
    balance: Int[np.ndarray, " size"] | None = None,
) -> Int[np.ndarray, "count batch_size"]:
    """The samples of `count` steps that follow `step`, within one epoch.

    An epoch is size // batch_size steps; the samples left over at the end of its order are skipped. With `balance`, the
    samples' classes, it has a `balanced_order`.
    """
    steps_per_epoch = size // batch_size
    epoch, first = divmod(step, steps_per_epoch)
    if first + count > steps_per_epoch:
        raise ValueError(
            f"{count} steps from step {step} reach beyond an epoch of {steps_per_epoch}"
        )
    order = (
        epoch_order(entropy, epoch, size)
        if balance is None
        else balanced_order(entropy, epoch, balance)
    )
    chosen = order[first * batch_size : (first + count) * batch_size]
    return chosen.reshape(count, batch_size).astype(np.int32)


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
