from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax import zoo
from convnets_jax.intermediate import block_outputs
from convnets_jax.resnet import ResNetConfig, ResNetFeatures
from engine_jax.errors import UserError
from engine_jax.state import abstract_model

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(1, 64, 64, 3)), jnp.float32)


def test_outputs_of_stages_are_the_networks_own_maps():
    config = ResNetConfig((1, 1, 1, 1), widths=(4, 4, 8, 8))

    @nnx.jit
    def outputs(images):
        features = ResNetFeatures(config, rngs=nnx.Rngs(0))
        features.eval()
        expected = features.maps(images)
        found = block_outputs(features, ["stages.1", "stages.0"], images)
        # The network is as it was.
        assert type(features.stages[1]).__name__ != "Recorded"
        return expected, found, features(images)

    expected, found, last = outputs(IMAGES)
    np.testing.assert_array_equal(found[0], expected[1])
    np.testing.assert_array_equal(found[1], expected[0])
    np.testing.assert_array_equal(last, expected[-1])


@pytest.mark.parametrize(
    ("name", "block", "shape"),
    [
        ("alexnet", "convs.2", (1, 3, 3, 384)),
        ("vgg11_bn", "stages.2", (1, 8, 8, 256)),
        ("googlenet", "stages.0", (1, 8, 8, 480)),
        ("densenet121", "stages.1", (1, 8, 8, 512)),
        ("mobilenet_v1_050", "blocks.4", (1, 8, 8, 128)),
        ("mobilenet_v2", "blocks.6", (1, 4, 4, 64)),
        ("mobilenet_v3_small", "blocks.2", (1, 8, 8, 24)),
    ],
)
def test_every_family_gives_its_blocks_maps(name, block, shape):
    features = abstract_model(partial(zoo.create_features, name))
    features.eval()
    (found,) = nnx.eval_shape(
        lambda model, images: block_outputs(model, [block], images), features, IMAGES
    )
    assert found.shape == shape


def test_other_names_are_refused():
    features = abstract_model(partial(zoo.create_features, "resnet18"))
    for name in ("stages.4", "layer2", "stages", ""):
        with pytest.raises(
            UserError, match=r"there is no block .* in ResNet; accepted: .*stages\.3"
        ):
            block_outputs(features, [name], IMAGES)
