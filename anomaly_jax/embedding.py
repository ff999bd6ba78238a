"""Patch embeddings: what a network that was trained for something else makes of each place of an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from convnets_jax import zoo
from convnets_jax.imagenet import normalise
from convnets_jax.intermediate import block_outputs
from engine_jax.config import AtLeastOne
from engine_jax.errors import UserError


@dataclass(frozen=True)
class EmbeddingConfig:
    """Which network looks at images, for "padim" and "patchcore".

    Attributes:
        backbone: a name of `convnets_jax.zoo`.
        weights: torchvision's weights for it, a .safetensors or .pth file; "" leaves them random, which finds little.
        blocks: whose outputs count, by name, the finest first: "stages.1" of a ResNet, "blocks.6" of MobileNetV2.
        neighbourhood: side of the square of cells over whose mean a cell's output is taken, odd; 1 is the cell alone.
    """

    backbone: str = "mobilenet_v2"
    weights: str = ""
    blocks: tuple[str, ...] = ("blocks.2", "blocks.5", "blocks.12")
    neighbourhood: Annotated[int, AtLeastOne] = 1

    def check(self, path: str) -> None:
        """Raises a UserError, which calls this configuration `path`, for values that aren't accepted."""
        if self.backbone not in zoo.MODELS:
            raise UserError(
                f"{path}.backbone: {self.backbone!r}; accepted: {', '.join(zoo.MODELS)}"
            )
        if not self.blocks:
            raise UserError(f"{path}.blocks: (); accepted: names of blocks, such as 'stages.1'")
        if self.neighbourhood % 2 == 0:
            raise UserError(f"{path}.neighbourhood: {self.neighbourhood}; accepted: odd numbers")


class Embedding(nnx.Module):
    """Images [b, s, s, 3] in [0, 1] -> embeddings [b, h, w, c], of the size of the first block's output.

    The others' are resized to it, and all channels joined: PatchCore's and PaDiM's embedding (see there).

    Args:
        config: the network.
        rngs: draws the weights, until `load_weights`.
    """

    def __init__(self, config: EmbeddingConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.features = zoo.create_features(config.backbone, rngs=rngs)
        self.features.eval()

    def __call__(self, images: Float[Array, "b s s 3"]) -> Float[Array, "b h w c"]:
        maps = block_outputs(self.features, self.config.blocks, normalise(images))
        return joined(maps, self.config.neighbourhood)

    def load_weights(self) -> None:
        """Takes the weights that the configuration names; random ones stay where it names none.

        Raises:
            UserError: when the file can't be read, or holds another network's weights.
        """
        if self.config.weights:
            # Imported late: nothing else needs its reader of files.
            from convnets_jax import torchvision

            torchvision.load(self.features, self.config.weights)


def joined(
    maps: Sequence[Float[Array, "b _ _ _"]], neighbourhood: int = 1
) -> Float[Array, "b h w c"]:
    """The means over neighbourhoods of maps of one image, resized to the first map's size, with all their channels."""
    first, *others = (_means(x, neighbourhood) for x in maps)
    resized = [
        jax.image.resize(x, (*first.shape[:3], x.shape[-1]), "bilinear", antialias=False)
        for x in others
    ]
    return jnp.concatenate([first, *resized], -1)


def _means(x: Float[Array, "b h w c"], side: int) -> Float[Array, "b h w c"]:
    """Means over squares of `side` cells around each, over the cells that there are."""
    if side == 1:
        return x
    total = partial(
        lax.reduce_window,
        init_value=0.0,
        computation=lax.add,
        window_dimensions=(1, side, side, 1),
        window_strides=(1, 1, 1, 1),
        padding="SAME",
    )
    return total(x) / total(jnp.ones((1, *x.shape[1:3], 1), x.dtype))
