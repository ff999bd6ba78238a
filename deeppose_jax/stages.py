"""The stages of a cascade as a configuration describes them: stage 1, and refiners from stage 2 on."""

from collections.abc import Callable
from typing import Any

from flax import nnx
from jax.sharding import Mesh

from deeppose_jax.config import StageConfig
from deeppose_jax.heads import Estimate
from deeppose_jax.refiners import JointRefiners, SharedRefiner, joint_networks
from deeppose_jax.regressor import Regressor


def stage_network(stage: StageConfig, num_joints: int, *, rngs: nnx.Rngs) -> Regressor:
    """A stage's network with random weights; "per_joint" refiners are `joint_networks`."""
    make = joint_networks if stage.form == "per_joint" else Regressor
    return make(stage.model, num_joints, rngs=rngs)


def as_stage(
    network: Regressor, stage: StageConfig, mesh: Mesh | None = None
) -> Regressor | SharedRefiner | JointRefiners:
    """A stage's network as the function of crops that `Cascade` takes.

    Args:
        mesh: see `JointRefiners`.
    """
    if stage.form == "regressor":
        return network
    return SharedRefiner(network) if stage.form == "shared" else JointRefiners(network, mesh)


def network_of(stage: Callable[[Any], Estimate]) -> Regressor:
    """The network that `as_stage` made a cascade's stage of."""
    if isinstance(stage, SharedRefiner):
        return stage.network
    if isinstance(stage, JointRefiners):
        return stage.networks
    assert isinstance(stage, Regressor)
    return stage
