"""PatchCore: distances to the nearest patches of good images (Roth et al., CVPR 2022, arXiv 2106.08265)."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from engine_jax.config import AtLeastOne, Range


@dataclass(frozen=True)
class PatchcoreConfig:
    """PatchCore.

    Attributes:
        coreset: the share of the good images' patches that the memory bank keeps, chosen greedily (algorithm 1).
        projection: dimensions to which embeddings are projected at random for that choice; 0 is none.
        candidates: patches among which it chooses, at most; of more, as many are drawn at random, so that memory is
            bounded.
        neighbours: b, patches of the bank near the nearest one, by which the image's score is weighted (equation 7);
            1 leaves it unweighted.
    """

    coreset: Annotated[float, Range(0, 1, open_low=True)] = 0.01
    projection: Annotated[int, Range(low=0)] = 128
    candidates: Annotated[int, AtLeastOne] = 500_000
    neighbours: Annotated[int, AtLeastOne] = 9


class MemoryBank(nnx.Module):
    """Embeddings [b, h, w, c] -> distances [b, h, w] to the nearest patch of the bank, and scores [b] of the images.

    Args:
        patches: [m, c].
        neighbours: as `PatchcoreConfig.neighbours`.
    """

    def __init__(self, patches: Float[Array, "m c"], neighbours: int):
        self.patches = nnx.Variable(patches)
        self.neighbours = neighbours

    def __call__(
        self, embeddings: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w"], Float[Array, " b"]]:
        bank = self.patches[...]

        def of_image(patches: Float[Array, "p c"]) -> tuple[jax.Array, jax.Array]:
            squared = _squared_distances(patches, bank)
            nearest = jnp.argmin(squared, 1)
            # Anew from the differences: of near patches, squares of large numbers leave few digits.
            distances = jnp.linalg.norm(patches - bank[nearest], axis=-1)
            return distances, self._score(patches, distances, nearest)

        b, h, w, c = embeddings.shape
        distances, scores = jax.lax.map(of_image, embeddings.reshape(b, h * w, c))
        return distances.reshape(b, h, w), scores

    def _score(
        self,
        patches: Float[Array, "p c"],
        distances: Float[Array, " p"],
        nearest: Int[Array, " p"],
    ) -> Float[Array, ""]:
        """The largest distance, weighted (equation 7): less where the nearest patch of the bank has near neighbours."""
        bank = self.patches[...]
        count = min(self.neighbours, len(bank))
        farthest = jnp.argmax(distances)
        if count < 2:
            return distances[farthest]
        around = _squared_distances(bank[nearest[farthest]][None], bank)[0]
        neighbours = jax.lax.top_k(-around, count)[1]
        away = jnp.linalg.norm(patches[farthest] - bank[neighbours], axis=-1)
        # Of the count neighbours the nearest patch itself is one; its share in the softmax is what is taken off.
        share = jnp.exp(distances[farthest] - jax.nn.logsumexp(away))
        return (1 - share) * distances[farthest]


def fit_bank(
    batches: Iterable[Float[Any, "b h w c"]], config: PatchcoreConfig, key: jax.Array
) -> MemoryBank:
    """The memory bank of good images' embeddings.

    Args:
        batches: the embeddings of all good images, read once.
        config: see there.
        key: draws candidates, projection and the first patch.
    """
    draw_key, project_key, first_key = jax.random.split(key, 3)
    random = np.random.default_rng(np.asarray(jax.random.key_data(draw_key)))
    candidates, seen = None, 0
    for batch in batches:
        patches = np.asarray(batch, np.float32).reshape(-1, batch.shape[-1])
        candidates, seen = _drawn(candidates, seen, patches, config.candidates, random)
    assert candidates is not None
    count = max(1, round(config.coreset * len(candidates)))
    projected = jnp.asarray(candidates)
    if config.projection and config.projection < candidates.shape[1]:
        directions = jax.random.normal(project_key, (candidates.shape[1], config.projection))
        projected = projected @ (directions / np.sqrt(config.projection))
    first = jax.random.randint(first_key, (), 0, len(candidates))
    chosen = np.asarray(greedy_coreset(projected, first, count))
    return MemoryBank(jnp.asarray(candidates[chosen]), config.neighbours)


@partial(jax.jit, static_argnames="count")
def greedy_coreset(
    patches: Float[Array, "n c"], first: Int[Array, ""], count: int
) -> Int[Array, " count"]:
    """The indices of `count` patches: a first one, then again and again the one farthest from those chosen.

    Sener and Savarese, "Active learning for convolutional neural networks", ICLR 2018, algorithm 1.
    """
    squares = jnp.square(patches).sum(-1)

    def distance(index: jax.Array) -> jax.Array:
        chosen = patches[index]
        return squares - 2 * patches @ chosen + jnp.square(chosen).sum()

    def step(nearest: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        index = jnp.argmax(nearest)
        return jnp.minimum(nearest, distance(index)), index

    _, chosen = jax.lax.scan(step, distance(first), None, length=count - 1)
    return jnp.concatenate([first[None], chosen])


def _squared_distances(a: Float[Array, "p c"], b: Float[Array, "m c"]) -> Float[Array, "p m"]:
    return jnp.square(a).sum(-1)[:, None] - 2 * a @ b.T + jnp.square(b).sum(-1)


def _drawn(
    held: np.ndarray | None, seen: int, more: np.ndarray, most: int, random: np.random.Generator
) -> tuple[np.ndarray, int]:
    """At most `most` of all patches so far, each as likely as another, and their number (reservoir sampling).

    Args:
        held: those of the first `seen` patches that are held.
        seen: how many there were.
        more: the next patches.
        most: how many are held, at most.
        random: draws them.
    """
    room = more[: max(0, most - seen)]
    held = room.copy() if held is None else np.concatenate([held, room])
    late = more[len(room) :]
    # Patch number t takes the place of one of those held with a probability of most / t.
    places = random.integers(0, seen + len(room) + 1 + np.arange(len(late)))
    taken = places < most
    held[places[taken]] = late[taken]
    return held, seen + len(more)
