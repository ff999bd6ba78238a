"""Refiners' networks, their training samples and steps, and where they start."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from deeppose_jax.augment import refiner_samples
from deeppose_jax.boxes import whole_image
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.displacements import Displacements
from deeppose_jax.initial_weights import previous_weights
from deeppose_jax.refiners import over_joints
from deeppose_jax.regressor import Regressor
from deeppose_jax.stages import as_stage, stage_network
from deeppose_jax.train_step import joint_refiners_step, shared_refiner_step
from engine_jax import sharding
from engine_jax.errors import UserError
from engine_jax.stacked import stacked
from engine_jax.state import create_state, graph_defs, variables_by_name
from tests.deeppose_jax.cascades import random_network
from tests.deeppose_jax.settings import TORSO, settings, tiny

SIDE, K = 96, TORSO.num_joints
SPREAD = Displacements(
    mean=np.full((K, 2), 0.1, np.float32),
    covariance=np.tile(np.float32(0.04) * np.eye(2, dtype=np.float32), (K, 1, 1)),
    log_ratio_mean=np.float32(0),
    log_ratio_std=np.float32(0.1),
)


def dotted(seed=0, count=8):
    """Black images with one bright dot each: image i's joint i % k, in the red channel."""
    rng = np.random.default_rng(seed)
    joints = np.array([[-12, 15], [12, 15], [-14, -15], [14, -15], [0, -30]]) + SIDE / 2
    joints = joints + rng.uniform(-4, 4, (count, K, 2))
    y, x = np.mgrid[:SIDE, :SIDE]
    canvases = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    for i in range(count):
        at = joints[i, i % K]
        canvases[i, ..., 0] = 255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 1.5**2))
    return PoseSet(
        canvases=canvases,
        joints=joints.astype(np.float32),
        labelled=np.ones((count, K), bool),
        boxes=np.tile(np.float32(whole_image(SIDE, SIDE)), (count, 1)),
        to_image=np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1)),
    )


SCALED = {"augment__scale": 0.2, "augment__translation": 0.1, "augment__flip": True}
AUGMENTED = SCALED | {"augment__rotation": 30.0}


# One function for all tests, so that those with the same settings and shapes compile it once.
sampled = jax.jit(
    partial(refiner_samples, border="black"),
    static_argnames=("size", "augment", "skeleton", "sigma", "joints_per_image"),
)


def samples_of(batch, config, key=None, displacements=SPREAD):
    key = jax.random.key(0) if key is None else key
    return sampled(
        key,
        batch,
        config.refiner.model.input_size,
        config.augment,
        TORSO,
        displacements,
        sigma=config.refiner.sigma,
        joints_per_image=config.refiner.joints_per_image,
    )


@pytest.mark.parametrize("changes", [SCALED, AUGMENTED], ids=["upright", "rotated"])
def test_a_samples_target_is_where_its_crop_shows_the_joint(changes):
    """Through rotation, mirror image and displacement; a mirrored left hip is the right one's crop."""
    batch = dotted(count=40)
    config = tiny(refiner__model__input_size=48, **changes)
    samples = samples_of(batch, config)
    red = np.asarray(samples.inputs[..., 0])
    dark = red.min()
    mass = red - dark
    ticks = (np.arange(48) + 0.5) / 48 - 0.5
    hits = 0
    for i in range(40):
        for joint in (i % K, TORSO.swap[i % K]):
            target = np.asarray(samples.targets[i, joint])
            if np.abs(target).max() > 0.4 or mass[i, joint].max() < 1:
                continue
            at = [
                (mass[i, joint].sum(axis) * ticks).sum() / mass[i, joint].sum() for axis in (0, 1)
            ]
            if np.abs(at - target).max() < 0.02:  # a pixel
                hits += 1
                break
        else:
            raise AssertionError(f"image {i}: its dot is not at the target of joint {i % K}")
    assert hits == 40


def test_samples_are_a_function_of_the_key_and_differ_from_step_to_step():
    batch, config = dotted(), tiny(**AUGMENTED)
    first, again, other = (samples_of(batch, config, jax.random.key(i)) for i in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (np.asarray(first.targets) != other.targets).all()


def test_without_displacement_joints_are_in_the_middle_of_crops_of_sigma_diams():
    still = replace(SPREAD, mean=0 * SPREAD.mean, covariance=0 * SPREAD.covariance)
    samples = samples_of(dotted(), tiny(), displacements=still)
    np.testing.assert_allclose(samples.targets, 0, atol=1e-6)
    np.testing.assert_array_equal(samples.joints, np.tile(np.arange(K), (8, 1)))


def test_some_joints_are_drawn_without_repetition_labelled_ones_first():
    batch = dotted(count=200)
    labelled = np.ones((200, K), bool)
    labelled[:100, 4] = False
    labelled[100:, 1:] = False
    config = tiny(refiner__form="shared", refiner__joints_per_image=3)
    samples = samples_of(replace(batch, labelled=labelled), config)
    joints = np.asarray(samples.joints)
    assert joints.shape == (200, 3)
    assert all(len(set(row)) == 3 for row in joints)
    assert set(joints[:100].ravel()) == {0, 1, 2, 3}
    assert (joints[100:, 0] == 0).all()
    counts = np.bincount(joints[:100].ravel(), minlength=4)
    assert counts.min() > 50  # of 75 on average
    np.testing.assert_array_equal(samples.labelled, np.take_along_axis(labelled, joints, 1))


def networks(config, seed=0):
    return random_network(config.stage(2), TORSO.num_joints, seed, wider=0.1)


@nnx.jit
def estimate(network, *inputs):
    return network(*inputs)


@nnx.jit
def loss_of(network, *arguments):
    return network.loss(*arguments)


@pytest.mark.parametrize("head", ["regression", "integral", "rle"])
def test_each_joints_refiner_sees_its_own_crop_only(head):
    config = tiny(refiner__model__head=head)
    stacked = networks(config)
    crops = jax.random.normal(jax.random.key(0), (3, K, 24, 24, 3))
    refiners = as_stage(stacked, config.stage(2))
    found = estimate(refiners, crops)
    target = 0.1 * jax.random.normal(jax.random.key(1), (3, K, 2))
    labelled = jnp.ones((3, K), bool).at[1, 2].set(False)
    losses = []
    graphdef, variables = nnx.split(stacked)
    for joint in range(K):
        one = nnx.merge(graphdef, jax.tree.map(lambda x, j=joint: x[j], variables))
        alone = estimate(one, crops[:, joint])
        np.testing.assert_allclose(found.joints[:, joint], alone.joints[:, 0], atol=1e-5)
        if head != "regression":
            np.testing.assert_allclose(found.scales[:, joint], alone.scales[:, 0], rtol=1e-5)
        losses.append(loss_of(one, alone, target[:, [joint]], labelled[:, [joint]]))
    np.testing.assert_allclose(
        loss_of(refiners, found, target, labelled), sum(losses), rtol=1e-4, atol=1e-5
    )
    assert np.abs(np.diff(found.joints, axis=1)).min() > 1e-6  # Their weights differ.


def test_a_shared_refiner_returns_the_output_for_the_crops_joint():
    config = tiny(refiner__form="shared", refiner__model__head="integral")
    network = networks(config)
    refiner = as_stage(network, config.stage(2))
    crops = jax.random.normal(jax.random.key(0), (3, K, 24, 24, 3))
    found = estimate(refiner, crops)
    for joint in range(K):
        every = estimate(network, crops[:, joint])
        np.testing.assert_allclose(found.joints[:, joint], every.joints[:, joint], atol=1e-5)
        np.testing.assert_allclose(found.scales[:, joint], every.scales[:, joint], rtol=1e-5)
    chosen = jnp.array([[4, 1], [0, 3], [2, 2]])
    some = estimate(refiner, crops[jnp.arange(3)[:, None], chosen], chosen)
    np.testing.assert_allclose(
        some.joints, np.take_along_axis(np.asarray(found.joints), chosen[..., None], 1), atol=1e-5
    )


def refiner_state(config, optimizer):
    build = partial(stage_network, config.stage(2), TORSO.num_joints)
    return create_state(
        build, optimizer, jax.random.key(0), sharding.replicated(sharding.device_mesh(joint=1))
    )


RATE, DECAY = 1e-2, 0.1
# With the usual epsilon Adam's first step is RATE however small a gradient is, and so shows its rounding.
JOINT_OPTIMIZER = optax.adamw(
    RATE, eps=1e-3, weight_decay=DECAY, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)
)


@pytest.fixture(scope="module")
def joint_training():
    """Settings, the first state of a refiner for each joint, and their step, compiled once."""
    config = tiny(stages=2)
    step = partial(
        joint_refiners_step,
        graphdef=graph_defs(partial(Regressor, config.refiner.model, 1)).train,
        optimizer=JOINT_OPTIMIZER,
        settings=config,
        skeleton=TORSO,
        key=jax.random.key(1),
        displacements=SPREAD,
    )
    return config, refiner_state(config, stacked(JOINT_OPTIMIZER)), jax.jit(step)


def test_joint_refiners_train_as_networks_of_their_own(joint_training):
    """A step of all is a step of each, with the plain optimiser on one joint's network and crops."""
    config, state, step = joint_training
    batch = dotted()
    new, loss = step(state, batch)
    assert int(new.step) == 1

    samples_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(1), 0))
    samples = samples_of(batch, config, samples_key)
    graphdef = graph_defs(partial(Regressor, config.refiner.model, 1)).train

    @jax.jit
    def step_alone(params, model_state, crops, targets, labelled):
        def loss_of(params):
            model = nnx.merge(graphdef, params, model_state)
            estimate = model(crops)
            return model.loss(estimate, targets[:, None], labelled[:, None]).mean()

        value, grads = jax.value_and_grad(loss_of)(params)
        updates, _ = JOINT_OPTIMIZER.update(grads, JOINT_OPTIMIZER.init(params), params)
        return optax.apply_updates(params, updates), value

    losses = []
    for joint in range(K):
        variables, got = jax.tree.map(
            lambda x, j=joint: x[j], ((state.params, state.model_state), new.params)
        )
        crops, targets, labelled = (
            x[:, joint] for x in (samples.inputs, samples.targets, samples.labelled)
        )
        expected, value = step_alone(*variables, crops, targets, labelled)
        # Where an activation is almost 0 the two programs may round it to either side.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=RATE / 100), got, expected)
        moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), got, variables[0])
        assert max(jax.tree.leaves(moved)) > RATE / 3
        losses.append(value)
    np.testing.assert_allclose(loss, sum(losses), rtol=1e-5)


def test_a_joint_that_no_image_labels_is_not_trained(joint_training):
    """Its weights decay, and that is all: Adam would turn any gradient into a step of the learning rate."""
    _, state, step = joint_training
    batch = dotted()
    labelled = batch.labelled.copy()
    labelled[:, 4] = False
    joints = batch.joints.copy()
    joints[:, 4] = 1e4
    new, loss = step(state, replace(batch, labelled=labelled, joints=joints))
    assert np.isfinite(loss)
    # Matrices and filters [k, ...] of more than one axis decay, biases [k, c] don't.
    decayed = jax.tree.map(lambda x: x * (1 - RATE * DECAY * (x.ndim > 2)), state.params)

    def moved(joint):
        changes = jax.tree.map(lambda a, b: np.abs(a[joint] - b[joint]).max(), new.params, decayed)
        return max(jax.tree.leaves(changes))

    assert moved(4) < 1e-6
    assert min(moved(joint) for joint in range(4)) > 1e-3


def test_over_joints_is_the_same_by_vmap(monkeypatch):
    def function(x, y):
        return x @ y, {"sum": x.sum()}

    x, y = jax.random.normal(jax.random.key(0), (2, 5, 3, 3))
    unrolled = over_joints(function, x, y)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        over_joints(function, x, y),
        unrolled,
    )


def test_a_shared_refiner_learns_where_the_dots_are():
    """Training brings its crops' joints from the middle to the dots: every image shows the head."""
    config = tiny(
        stages=2,
        refiner__form="shared",
        refiner__model__head="integral",
        refiner__model__backbone="compact",
        refiner__joints_per_image=1,
    )
    batch = jax.tree.map(lambda x: x[np.full(16, 4)], dotted())
    labelled = np.zeros((16, K), bool)
    labelled[:, 4] = True
    batch = replace(batch, labelled=labelled)
    optimizer = optax.adam(1e-2)
    state = refiner_state(config, optimizer)
    step = jax.jit(
        partial(
            shared_refiner_step,
            graphdef=graph_defs(partial(stage_network, config.stage(2), TORSO.num_joints)).train,
            optimizer=optimizer,
            settings=config,
            skeleton=TORSO,
            key=jax.random.key(1),
            displacements=SPREAD,
        )
    )
    losses = []
    for _ in range(40):
        state, loss = step(state, batch)
        losses.append(float(loss))
    # In units of the box joints are some 0.1 off at first: log-likelihoods below that of scale 0.1.
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 1


def variables_of(config, number):
    network = stage_network(config.stage(number), TORSO.num_joints, rngs=nnx.Rngs(number))
    return variables_by_name(network)


@pytest.mark.parametrize("form", ["per_joint", "shared"])
def test_refiners_start_from_the_stage_before(form):
    heads = {"model__head": "integral", "refiner__model__head": "integral"}
    config = tiny(refiner__form=form, refiner__initial_weights="previous", **heads)
    first, second, third = (variables_of(config, number) for number in (1, 2, 3))
    taken = previous_weights(second, first, 2)
    assert {name for name in first if name.startswith("backbone.")} <= taken.keys()
    assert all(taken[name] is first[name] for name in taken)
    # Each joint's network has an output for its joint only.
    assert ("head.heat.kernel" in taken) == (form == "shared")
    assert previous_weights(third, second, 3).keys() == third.keys()


def test_refiners_of_another_backbone_cannot_start_from_the_stage_before():
    config = tiny(
        refiner__initial_weights="previous", refiner__model__alexnet__widths=(4, 4, 4, 4, 8)
    )
    with pytest.raises(
        UserError, match=r"config\.refiner\.initial_weights: 'previous' takes the same backbone"
    ):
        previous_weights(variables_of(config, 2), variables_of(config, 1), 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refiner__joints_per_image": 3}, r"config\.refiner\.joints_per_image: 3; 'per_joint'"),
        (
            {"refiner__form": "shared", "refiner__joint_devices": 2},
            r"config\.refiner\.joint_devices: 2; a 'shared' refiner",
        ),
        (
            {"refiner__combine": "weighted"},
            r"config\.refiner\.combine: 'weighted' takes the scales",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        settings(stages=2, **changes)
    settings(stages=1, **changes)  # Without refiners they mean nothing.
