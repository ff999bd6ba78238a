import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax import zoo
from convnets_jax.intermediate import block_outputs
from engine_jax.errors import UserError
from engine_jax.state import abstract_model

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(1, 64, 64, 3)), jnp.float32)


def test_outputs_of_stages_are_the_networks_own_maps():
    features = zoo.create_features("resnet18", rngs=nnx.Rngs(0))
    features.eval()
    expected = features.maps(IMAGES)
    found = block_outputs(features, ["stages.1", "stages.0"], IMAGES)
    np.testing.assert_array_equal(found[0], expected[1])
    np.testing.assert_array_equal(found[1], expected[0])
    # The network is as it was.
    assert type(features.stages[1]).__name__ != "Recorded"
    np.testing.assert_array_equal(features(IMAGES), expected[-1])


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
    def outputs(rngs, images):
        features = zoo.create_features(name, rngs=rngs)
        features.eval()
        return block_outputs(features, [block], images)

    (found,) = jax.eval_shape(outputs, nnx.Rngs(0), IMAGES)
    assert found.shape == shape


def test_other_names_are_refused():
    features = abstract_model(lambda rngs: zoo.create_features("resnet18", rngs=rngs))
    for name in ("stages.4", "layer2", "stages", ""):
        with pytest.raises(
            UserError, match=r"there is no block .* in ResNet; accepted: .*stages\.3"
        ):
            block_outputs(features, [name], IMAGES)
