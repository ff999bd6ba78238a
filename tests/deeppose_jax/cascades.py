"""Small cascades with random weights."""

from functools import partial

import jax
from flax import nnx

from configs.pose import get_config
from deeppose_jax.cascade import Cascade
from deeppose_jax.config import PoseConfig
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


def random_cascade(form: str, skeleton: Skeleton = LSP) -> PoseModel:
    """Two stages with random weights, as a run would leave them."""
    settings = demo_settings(form)

    @partial(jax.jit, static_argnums=0)
    def network(number: int, key: jax.Array):
        stage = settings.stage(number)
        return nnx.split(stage_network(stage, skeleton.num_joints, rngs=nnx.Rngs(key)))

    stages = []
    for number in (1, 2):
        made = nnx.merge(*network(number, jax.random.key(number)))
        made.eval()
        stages.append(as_stage(made, settings.stage(number)))
    return PoseModel(settings, skeleton, Cascade(stages, settings.cascade, skeleton))
