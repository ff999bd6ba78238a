"""Refiners: the networks of stages 2, 3, ..., which correct each joint on a crop around it (DeepPose, section 3.2).

Both forms take crops [n, k, s, s, 3], one around each joint, and estimate [n, k] joints, each in its own box's frame.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from deeppose_jax.heads import Estimate
from deeppose_jax.model_config import ModelConfig
from deeppose_jax.regressor import Regressor
from engine_jax.stacked import over_stack


class SharedRefiner(nnx.Module):
    """One trunk for all joints, and a head for each.

    Args:
        network: a Regressor of k joints. It runs on every crop; only the output for the crop's own joint is used.
    """

    def __init__(self, network: Regressor):
        self.network = network

    def __call__(
        self,
        crops: Float[Array, "n m s s 3"],
        joints: Int[Array, "n m"] | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Estimate:
        """Estimates [n, m] of the joints in `joints`; by default there is a crop for each of the k joints, in order."""
        n, m = crops.shape[:2]
        if joints is None:
            joints = jnp.broadcast_to(jnp.arange(m), (n, m))
        every = self.network(crops.reshape(n * m, *crops.shape[2:]), rngs)  # [n m, k]

        def own(values: jax.Array) -> jax.Array:
            return values[jnp.arange(n * m), joints.reshape(-1)].reshape(n, m, *values.shape[2:])

        return jax.tree.map(own, every)

    def loss(
        self, estimate: Estimate, target: Float[Array, "n m 2"], labelled: Bool[Array, "n m"]
    ) -> Float[Array, " n"]:
        """The sum over the crops of each image, whichever joints they are around."""
        return self.network.loss(estimate, target, labelled)


class JointRefiners(nnx.Module):
    """A network of its own for each joint, as in the paper.

    Args:
        networks: see `joint_networks`.
        mesh: devices with an axis "joint", among which the networks are divided; None runs all of them on every device.
    """

    def __init__(self, networks: Regressor, mesh: Mesh | None = None):
        self.networks = networks
        self.mesh = mesh

    def __call__(self, crops: Float[Array, "n k s s 3"]) -> Estimate:
        graphdef, variables = nnx.split(self.networks)

        def one(variables: nnx.State, crops: jax.Array) -> Estimate:
            return nnx.merge(graphdef, variables)(crops)

        estimate = over_joints(one, variables, crops.swapaxes(0, 1), mesh=self.mesh)  # [k, n, 1]
        return jax.tree.map(lambda values: values[:, :, 0].swapaxes(0, 1), estimate)

    def loss(
        self, estimate: Estimate, target: Float[Array, "n k 2"], labelled: Bool[Array, "n k"]
    ) -> Float[Array, " n"]:
        """The sum over the joints of each image, each with the loss of its own network."""
        graphdef, variables = nnx.split(self.networks.head)

        def one(variables: Any, *of_joint: Any) -> jax.Array:  # [n]
            return nnx.merge(graphdef, variables).loss(
                *jax.tree.map(lambda values: values[:, None], of_joint)
            )

        by_joint = jax.tree.map(lambda values: values.swapaxes(0, 1), (estimate, target, labelled))
        return over_joints(one, variables, *by_joint, mesh=self.mesh).sum(0)


def joint_networks(config: ModelConfig, num_joints: int, *, rngs: nnx.Rngs) -> Regressor:
    """`num_joints` Regressors of one joint each, as one whose variables have a leading joint axis."""

    @nnx.split_rngs(splits=num_joints)
    @nnx.vmap
    def networks(rngs: nnx.Rngs) -> Regressor:
        return Regressor(config, 1, rngs=rngs)

    return networks(rngs)


def over_joints(function: Callable[..., Any], *trees: Any, mesh: Mesh | None = None) -> Any:
    """Calls `function` once for each joint; arguments and results are stacked along a leading joint axis.

    Args:
        function: of one joint's arrays.
        trees: its arguments, for all joints.
        mesh: devices with an axis "joint", among which the joints are divided.
    """

    local = partial(over_stack, function)
    if mesh is None or mesh.shape["joint"] == 1:
        return local(*trees)
    by_joint = PartitionSpec("joint")
    divided = jax.shard_map(
        local, mesh=mesh, in_specs=by_joint, out_specs=by_joint, axis_names={"joint"}
    )
    return divided(*trees)
