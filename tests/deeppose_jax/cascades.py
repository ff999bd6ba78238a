"""Small cascades with random weights."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from configs.pose import get_config
from deeppose_jax.cascade import Cascade
from deeppose_jax.config import PoseConfig, StageConfig
from deeppose_jax.pose_model import PoseModel
from deeppose_jax.skeleton import LSP, Skeleton
from deeppose_jax.stages import as_stage, stage_network
from engine_jax.config import from_mapping


def demo_settings(form: str) -> PoseConfig:
    """The demo's, with two stages and of small networks."""
    config = get_config("demo")
    config.stages = 2
    config.data.dir = "/somewhere/lsp"
    config.data.canvas = 48
    config.refiner.form = form
    config.refiner.initial_weights = "random"
    config.refiner.joints_per_image = 0
    for model in (config.model, config.refiner.model):
        model.input_size = 32
        model.compact.widths, model.compact.blocks = (4, 8), (1, 1)
        model.compact.out_channels = 4
    return from_mapping(PoseConfig, config.to_dict())


def random_network(
    stage: StageConfig, num_joints: int, seed: int, wider: float = 0.0
) -> nnx.Module:
    """A stage's network for evaluation, with random weights; a sine of amplitude `wider` on them sets outputs apart."""
    network = nnx.merge(*_split_network(stage, num_joints, jax.random.key(seed), wider))
    network.eval()
    return network


@partial(jax.jit, static_argnums=(0, 1))
def _split_network(stage: StageConfig, num_joints: int, key: jax.Array, wider: float):
    network = stage_network(stage, num_joints, rngs=nnx.Rngs(key))
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)
    params = jax.tree.map(
        lambda x: x + wider * jnp.sin(jnp.arange(x.size)).reshape(x.shape), params
    )
    return graphdef, params, rest


def random_cascade(form: str, skeleton: Skeleton = LSP) -> PoseModel:
    """Two stages with random weights, as a run would leave them."""
    settings = demo_settings(form)
    stages = [
        as_stage(random_network(stage, skeleton.num_joints, stage.number), stage)
        for stage in (settings.stage(1), settings.stage(2))
    ]
    return PoseModel(settings, skeleton, Cascade(stages, settings.cascade, skeleton))
