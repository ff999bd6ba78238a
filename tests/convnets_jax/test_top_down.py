"""The top-down path: sizes, where its cells' centres lie, what it refuses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.compact import CompactConfig, CompactFeatures
from convnets_jax.resnet import ResNetConfig, ResNetFeatures
from convnets_jax.top_down import TopDownFeatures
from engine_jax.errors import UserError
from engine_jax.state import abstract_model

TINY = ResNetConfig((1, 1, 1, 1), widths=(4, 4, 8, 8))


def tiny(dtype=jnp.float32, *, rngs):
    model = TopDownFeatures(ResNetFeatures(TINY, dtype=dtype, rngs=rngs), 6, dtype=dtype, rngs=rngs)
    model.eval()
    return model


@pytest.mark.parametrize("size", [(64, 96), (33, 70), (1, 1)])
def test_the_shape_is_the_promised_one(size):
    model = abstract_model(tiny)
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    found = nnx.eval_shape(lambda model, images: model(images), model, images)
    assert found.shape == (2, *model.output_shape(size))
    assert model.output_shape(size) == (-(-size[0] // 8), -(-size[1] // 8), 6)


def test_a_resnets_cells_are_centred_on_their_first_pixel():
    """Of a network that takes means, features of a ramp are the places of the cells, but for what pools add.

    They take the highest pixel of each window; of the ramp that falls, the one as far on the other side.
    """
    size = 256
    model = abstract_model(partial(ResNetFeatures, TINY))
    model.eval()
    norms = nnx.state(model, nnx.BatchStat)
    params = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda x: np.full(x.shape, 0.1, x.dtype), params))
    # No deviation is left to divide by.
    nnx.update(model, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), norms))
    ramp = np.broadcast_to(np.arange(size, dtype=np.float32)[:, None], (1, size, size, 3))
    maps = nnx.jit(lambda model, images: model.maps(images))
    rising, falling, ones = (
        [np.asarray(found[0]) for found in maps(model, image)]
        for image in (ramp, size - 1 - ramp, np.ones_like(ramp))
    )
    for stride, up, down, one in zip((4, 8), rising, falling, ones, strict=False):
        middle = size // 2 // stride
        up, down, one = (x[middle, middle, 0] for x in (up, down, one))
        centre = (up / one + size - 1 - down / one) / 2
        np.testing.assert_allclose(centre, stride * middle, atol=0.05)


class Where(nnx.Module):
    """A network whose maps hold, in two channels, the pixel (x, y) that each cell is centred on: stride times cell."""

    map_channels = (2, 2, 2, 2)

    def output_shape(self, size):
        return size // 32, size // 32, 2

    def maps(self, x):
        places = [np.arange(0, x.shape[1], stride) for stride in (4, 8, 16, 32)]
        return [jnp.asarray(np.stack(np.meshgrid(p, p), -1)[None], jnp.float32) for p in places]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_paths_cells_are_centred_to_half_a_pixel(level):
    """With means for filters, each level alone tells where the cells of the sum are centred: at s i + s / 2."""

    @nnx.jit
    def centres(images):
        model = TopDownFeatures(Where(), 2, 0, rngs=nnx.Rngs(0))
        model.eval()
        for i, lateral in enumerate(model.laterals):
            mean = jnp.broadcast_to(jnp.eye(2) / 4, lateral.kernel.shape)
            lateral.kernel[...] = mean * (i == level)
        return model(images)

    found = np.asarray(centres(np.zeros((1, 128, 128, 3), np.float32)))[0]  # [16, 16, 2]
    stride, repeats = 8 * 2**level, 2**level
    cells = np.arange(128 // stride - 1)  # The last one has no neighbour.
    expected = np.repeat(stride * cells + stride / 2, repeats)
    np.testing.assert_allclose(found[0, : len(expected), 0], expected, rtol=1e-4)
    np.testing.assert_allclose(found[: len(expected), 0, 1], expected, rtol=1e-4)


def test_a_network_without_maps_is_refused():
    compact = abstract_model(partial(CompactFeatures, CompactConfig((4, 4), (0, 0))))
    with pytest.raises(UserError, match="can't be built on CompactFeatures: use a network"):
        TopDownFeatures(compact, 6, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_activations_have_the_asked_type(dtype):
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    model = abstract_model(partial(tiny, dtype))
    assert nnx.eval_shape(lambda model, images: model(images), model, images).dtype == dtype
