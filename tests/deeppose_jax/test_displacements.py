from dataclasses import astuple, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeppose_jax import displacements as dp
from deeppose_jax import refiner_boxes as rb
from deeppose_jax.boxes import centre_and_size
from deeppose_jax.skeleton import LSP, make_skeleton

simulate = jax.jit(partial(dp.simulate, skeleton=LSP))
SWAP = np.array(LSP.swap)
R_HIP, L_HIP, R_SHOULDER, L_SHOULDER = 2, 3, 8, 9


def poses(seed, n):
    """Poses [n, 14, 2] on a canvas of 200 pixels, predictions of them, and which joints are labelled."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(20, 180, (n, 14, 2))
    predicted = true + rng.normal(size=(n, 14, 2)) @ [[9, 4], [0, 6]] + rng.normal(size=(14, 2))
    return predicted, true, rng.random((n, 14)) < 0.8


def mirror(joints, width=0.0):
    return joints[:, SWAP] * [-1, 1] + [width, 0]


def statistics(mean=0.0, covariance=0.0, log_ratio_mean=0.0, log_ratio_std=0.0):
    mean = np.broadcast_to(np.float32(mean), (14, 2))
    covariance = np.broadcast_to(np.float32(covariance), (14, 2, 2))
    return dp.Displacements(mean, covariance, np.float32(log_ratio_mean), np.float32(log_ratio_std))


def random_statistics(seed):
    """Other values for each joint; correlated, and with a mean ratio of 1.2."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(14, 2, 2))
    return statistics(
        rng.normal(size=(14, 2)), factors @ factors.transpose(0, 2, 1), np.log(1.2), 0.3
    )


def diagonals(pose):
    a = np.linalg.norm(pose[..., L_SHOULDER, :] - pose[..., R_HIP, :], axis=-1)
    b = np.linalg.norm(pose[..., R_SHOULDER, :] - pose[..., L_HIP, :], axis=-1)
    return a, b


# Sizes


def test_diam_is_the_mean_of_the_torsos_diagonals():
    pose = np.zeros((14, 2))
    pose[L_SHOULDER], pose[R_HIP] = (3, 4), (0, 0)
    pose[R_SHOULDER], pose[L_HIP] = (0, 12), (5, 0)
    assert rb.diam(pose, LSP, 1.0) == 9  # (5 + 13) / 2


def test_a_collapsed_torso_gets_the_floor_of_its_image():
    np.testing.assert_array_equal(rb.diam(np.ones((2, 14, 2)), LSP, np.array([3.0, 4.0])), [3, 4])


def test_diam_of_incomplete_labels():
    _, true, _ = poses(0, 4)
    labelled = np.ones((4, 14), bool)
    labelled[1, R_HIP] = False
    labelled[2, [R_SHOULDER, R_HIP]] = False
    labelled[3] = False
    labelled[3, [0, 13]] = True  # an ankle and the top of the head
    true[3, [0, 13]] = [[50, 190], [60, 40]]
    a, b = diagonals(true)
    expected = [(a[0] + b[0]) / 2, b[1], 0, 0.37 * 150]
    known = true[2][labelled[2]]
    expected[2] = 0.37 * (known.max(0) - known.min(0)).max()
    garbage = np.where(labelled[..., None], true, 1e6)
    np.testing.assert_allclose(rb.diam(garbage, LSP, 1.0, labelled), expected, rtol=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_diam_without_anything_to_go_by_is_the_floor(count):
    labelled = np.arange(14) < count
    assert rb.diam(np.full((14, 2), 77.0), LSP, 5.0, labelled) == 5


def test_the_estimate_of_unlabelled_torsos_fits_lsp(real_data):
    from deeppose_jax.data.lsp import open_lsp

    true = np.stack([record.joints for record in open_lsp(real_data / "lsp")])
    extents = np.ptp(true, axis=1).max(1)
    shares = np.asarray(rb.diam(true, LSP, 1.0)) / extents
    assert abs(shares.mean() - rb.DIAM_PER_EXTENT) < 0.005


# Statistics


def test_statistics_equal_numpys():
    predicted, true, labelled = poses(1, 40)
    got = dp.fit_normals(predicted, true, labelled, LSP, 1.0)
    a, b = diagonals(predicted)
    sizes = (a + b) / 2
    for joint in range(14):
        known = labelled[:, joint]
        deltas = ((predicted - true)[known, joint].T / sizes[known]).T
        np.testing.assert_allclose(got.mean[joint], deltas.mean(0), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(got.covariance[joint], np.cov(deltas.T), rtol=1e-5)


def test_the_ratio_of_sizes_counts_the_diagonals_that_are_labelled():
    predicted, true, labelled = poses(2, 40)
    got = dp.fit_normals(predicted, true, labelled, LSP, 1.0)
    first, second = labelled[:, [L_SHOULDER, R_HIP]].all(1), labelled[:, [R_SHOULDER, L_HIP]].all(1)
    assert 0 < (first & second).sum() < (first | second).sum() < 40
    true_sizes = np.ma.masked_array(diagonals(true), ~np.stack([first, second])).mean(0)
    ratios = np.log(np.mean(diagonals(predicted), 0) / true_sizes).compressed()
    np.testing.assert_allclose(got.log_ratio_mean, ratios.mean(), rtol=1e-5)
    np.testing.assert_allclose(got.log_ratio_std, np.std(ratios, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("labels", [0, 1])
def test_joints_with_too_few_labels_get_the_default(labels):
    predicted, true, labelled = poses(3, 40)
    labelled[:, R_HIP] = labelled[:, R_SHOULDER] = np.arange(40) < labels
    true[~labelled] = np.nan
    got = dp.fit_normals(predicted, true, labelled, LSP, 1.0)
    for joint in (R_HIP, R_SHOULDER):
        np.testing.assert_array_equal(got.mean[joint], 0)
        np.testing.assert_array_equal(got.covariance[joint], 0.25 * np.eye(2))
    assert got.log_ratio_mean == got.log_ratio_std == 0
    assert all(np.isfinite(value).all() for value in astuple(got))


def test_collapsed_predictions_are_counted_in_units_of_the_floor():
    _, true, labelled = poses(4, 40)
    got = dp.fit_normals(np.full((40, 14, 2), 100.0), true, labelled, LSP, 25.0)
    expected = (100 - true[labelled[:, 0], 0]) / 25
    np.testing.assert_allclose(got.mean[0], expected.mean(0), rtol=1e-5)


def test_statistics_do_not_depend_on_the_frame():
    predicted, true, labelled = poses(5, 40)
    floor = np.linspace(50, 90, 40)  # reached by some
    got = dp.fit_normals(predicted, true, labelled, LSP, floor)
    scale, shift = np.linspace(0.5, 2, 40)[:, None, None], np.arange(80).reshape(40, 1, 2)
    moved = [joints * scale + shift for joints in (predicted, true)]
    again = dp.fit_normals(*moved, labelled, LSP, floor * scale[:, 0, 0])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), got, again)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": np.zeros((3, 13, 2))}, r"predicted and true must be \[3, 14, 2\]"),
        ({"true": np.zeros((2, 14, 2))}, r"predicted and true must be \[2, 14, 2\]"),
        ({"labelled": np.ones((3, 13), bool)}, r"labelled \[3, 14\]"),
        ({"labelled": np.ones((3, 14))}, "labelled must be bool, not float64"),
        ({"predicted": np.full((3, 14, 2), np.nan)}, "3 of 3 poses are not finite"),
        ({"floor": 0.0}, "floor must be positive"),
        ({"floor": np.ones(2)}, "floor must be positive"),
    ],
)
def test_input_that_does_not_fit_is_refused(change, message):
    good = {"predicted": np.zeros((3, 14, 2)), "true": np.zeros((3, 14, 2))}
    good |= {"labelled": np.ones((3, 14), bool), "floor": 1.0}
    with pytest.raises(ValueError, match=message):
        dp.fit_normals(**(good | change), skeleton=LSP)


# Simulation


def draws(seed, stats, count=20_000, flipped=None, true=None):
    """Offsets [count, 14, 2] in units of the drawn size, and that size over the true one [count]."""
    true = poses(7, 1)[1][0] if true is None else true
    many = np.broadcast_to(np.float32(true), (count, 14, 2))
    if flipped is not None:
        flipped = np.full(count, flipped)
    labelled = np.ones((count, 14), bool)
    centres, diams = simulate(
        jax.random.key(seed), many, labelled, stats, floor=0.01, flipped=flipped
    )
    offsets = np.asarray((centres - many) / diams[..., None], np.float64)
    return offsets, np.asarray(diams)[:, 0] / np.mean(diagonals(true))


def assert_same_moments(offsets, mean, covariance):
    """Within 5 standard errors of a normal distribution's mean and covariance, for every joint."""
    n = len(offsets)
    variances = np.diagonal(covariance, axis1=1, axis2=2)  # [k, 2]
    assert (np.abs(offsets.mean(0) - mean) < 5 * np.sqrt(variances / n)).all()
    centred = offsets - offsets.mean(0)
    got = np.einsum("nki,nkj->kij", centred, centred) / (n - 1)
    products = variances[:, :, None] * variances[:, None, :]
    assert (np.abs(got - covariance) < 5 * np.sqrt((products + covariance**2) / n)).all()


def test_draws_have_the_measured_mean_and_covariance():
    stats = random_statistics(0)
    offsets, ratios = draws(0, stats)
    assert_same_moments(offsets, stats.mean, stats.covariance)
    logs = np.log(ratios)
    assert abs(logs.mean() - np.log(1.2)) < 5 * 0.3 / np.sqrt(len(logs))
    assert abs(logs.std() - 0.3) < 5 * 0.3 / np.sqrt(2 * len(logs))


def test_each_joint_and_the_size_are_drawn_on_their_own():
    offsets, ratios = draws(1, random_statistics(1))
    columns = np.concatenate([offsets[..., 0], np.log(ratios)[:, None]], 1)  # [n, 15]
    correlations = np.corrcoef(columns.T) - np.eye(15)
    assert np.abs(correlations).max() < 5 / np.sqrt(len(columns))


@pytest.mark.parametrize("width", [0, 199])  # In an image 200 pixels wide x becomes 199 - x.
def test_draws_for_flipped_samples_follow_the_flipped_images_statistics(width):
    predicted, true, labelled = poses(6, 40)
    stats = dp.fit_normals(predicted, true, labelled, LSP, 1.0)
    flipped = dp.fit_normals(
        mirror(predicted, width), mirror(true, width), labelled[:, SWAP], LSP, 1.0
    )
    offsets, _ = draws(2, stats, flipped=True)
    assert_same_moments(offsets, flipped.mean, flipped.covariance)
    assert_same_moments(draws(2, stats, flipped=False)[0], stats.mean, stats.covariance)


def test_flipped_and_other_samples_share_a_batch():
    stats = statistics(mean=np.linspace(-1, 1, 28).reshape(14, 2))
    _, true, labelled = poses(8, 2)
    true = np.float32(true)
    centres, diams = simulate(
        jax.random.key(0), true, labelled, stats, floor=1.0, flipped=jnp.array([False, True])
    )
    offsets = (centres - true) / diams[..., None]
    np.testing.assert_allclose(offsets[0], stats.mean, atol=1e-5)
    np.testing.assert_allclose(offsets[1], mirror(stats.mean[None])[0], atol=1e-5)


def test_draws_are_a_function_of_the_key():
    stats, (_, true, labelled) = random_statistics(3), poses(9, 3)
    true = np.float32(true)
    first, again, other = (
        simulate(jax.random.key(seed), true, labelled, stats, floor=1.0) for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (np.asarray(first[0]) != other[0]).all()
    assert (np.asarray(first[1]) != other[1]).all()


def test_without_spread_the_centres_are_the_joints_and_the_sizes_the_torsos():
    _, true, labelled = poses(10, 5)
    true = np.float32(true)
    centres, diams = simulate(jax.random.key(0), true, labelled, statistics(), floor=1.0)
    np.testing.assert_array_equal(centres, true)
    sizes = rb.diam(true, LSP, 1.0, labelled)
    np.testing.assert_array_equal(diams, np.broadcast_to(sizes[:, None], (5, 14)))


@pytest.mark.parametrize("covariance", [[[0, 0], [0, 4]], [[4, 0], [0, 0]], [[1, 2], [2, 4]]])
def test_singular_covariances_stay_on_their_line(covariance):
    offsets, _ = draws(4, statistics(covariance=covariance), 100)
    normal = np.linalg.svd(covariance)[2][1]
    assert np.abs(offsets @ normal).max() < 1e-3
    assert offsets.std() > 0.5


def test_drawn_sizes_keep_to_the_floor():
    _, true, labelled = poses(11, 200)
    true = np.float32(true)
    stats = statistics(log_ratio_mean=-1.0, log_ratio_std=2.0)
    diams = np.asarray(simulate(jax.random.key(0), true, labelled, stats, floor=30.0)[1])
    assert diams.min() == 30
    assert 0 < (diams[:, 0] == 30).sum() < 200


def test_draws_move_and_scale_with_the_image():
    stats, (_, true, labelled) = random_statistics(4), poses(12, 6)
    floor = np.linspace(20, 120, 6, dtype=np.float32)
    key = jax.random.key(0)
    centres, diams = simulate(key, np.float32(true), labelled, stats, floor=floor)
    moved = np.float32(true * 0.5 + [30, -7])
    moved_centres, moved_diams = simulate(key, moved, labelled, stats, floor=floor * 0.5)
    np.testing.assert_allclose(moved_centres, centres * 0.5 + np.array([30, -7]), atol=1e-3)
    np.testing.assert_allclose(moved_diams, diams * 0.5, rtol=1e-5)


def test_measuring_simulated_predictions_gives_their_statistics_back():
    """With the torso's own joints left in place, so that the pose's size is the drawn one."""
    stats = random_statistics(5)
    torso = [R_HIP, L_HIP, R_SHOULDER, L_SHOULDER]
    mean, covariance = stats.mean.copy(), stats.covariance.copy()
    mean[torso], covariance[torso] = 0, 0
    stats = replace(stats, mean=mean, covariance=covariance, log_ratio_mean=0, log_ratio_std=0)
    _, true, _ = poses(13, 5000)
    true, labelled = np.float32(true), np.ones((5000, 14), bool)
    centres, _ = simulate(jax.random.key(0), true, labelled, stats, floor=1.0)
    got = dp.fit_normals(np.asarray(centres), np.asarray(true), labelled, LSP, 1.0)
    errors = 5 * np.sqrt(np.diagonal(covariance, axis1=1, axis2=2) / 5000)
    assert (np.abs(got.mean - mean) <= errors + 1e-5).all()
    np.testing.assert_allclose(got.covariance, covariance, atol=0.1 * covariance.max())
    assert abs(got.log_ratio_mean) < 1e-5


def test_observed_displacements_are_drawn_as_they_were_measured():
    """Each draw is one that was measured for the joint, with the same image's ratio, and all of them come up."""
    predicted, true, labelled = poses(15, 12)
    labelled[:, R_HIP] = False  # and so no diagonal through it
    observed = dp.observed_displacements(predicted, true, labelled, LSP, 1.0)
    sizes = np.mean(diagonals(predicted), 0)
    deltas = (predicted - true) / sizes[:, None, None]
    known = labelled[:, [R_SHOULDER, L_HIP]].all(1)
    ratios = np.where(known, np.log(sizes / diagonals(true)[1]), 0)
    drawn, log_ratios = observed.draw(jax.random.key(0), 500)
    for joint in np.flatnonzero(labelled.any(0)):
        measured = {
            tuple(row) for row in np.c_[deltas[:, joint], ratios][labelled[:, joint]].round(3)
        }
        got = np.c_[drawn[:, joint], log_ratios[:, joint]].astype(float)
        assert {tuple(row) for row in got.round(3)} == measured
    np.testing.assert_array_equal(drawn[:, R_HIP], 0)


def test_simulation_with_observed_displacements_gives_the_measured_predictions_back():
    """One image's displacements, drawn for that image, are its prediction."""
    predicted, true, _ = poses(16, 1)
    labelled = np.ones((1, 14), bool)
    observed = dp.observed_displacements(predicted, true, labelled, LSP, 1.0)
    arguments = np.float32(true), labelled, observed
    centres, diams = simulate(jax.random.key(0), *arguments, floor=1.0)
    np.testing.assert_allclose(centres, predicted, atol=1e-4)
    np.testing.assert_allclose(diams, np.full((1, 14), np.mean(diagonals(predicted))), rtol=1e-5)
    mirrored = jnp.asarray(mirror(true), jnp.float32), labelled, observed
    flipped, _ = simulate(jax.random.key(0), *mirrored, floor=1.0, flipped=jnp.array([True]))
    np.testing.assert_allclose(flipped, mirror(predicted), atol=1e-4)


# Boxes


def test_boxes_are_squares_about_the_centres():
    centres = np.arange(12.0).reshape(2, 3, 2)
    boxes = rb.refiner_boxes(jnp.asarray(centres), jnp.array([[10.0], [20.0]]), 1.5)
    middles, sizes = centre_and_size(boxes)
    np.testing.assert_array_equal(middles, centres)
    np.testing.assert_array_equal(sizes, [[[15, 15]] * 3, [[30, 30]] * 3])


def test_the_target_is_the_displacement_in_the_boxs_frame():
    centres, true = jnp.array([[[50.0, 60.0]]]), jnp.array([[[58.0, 56.0]]])
    boxes = rb.refiner_boxes(centres, jnp.array([[20.0]]), 2.0)
    psi = rb.to_frame(true, boxes)
    np.testing.assert_allclose(psi, [[[0.2, -0.1]]], rtol=1e-6)
    np.testing.assert_allclose(rb.from_frame(psi, boxes), true, rtol=1e-6)
    np.testing.assert_array_equal(rb.from_frame(jnp.zeros((1, 1, 2)), boxes), centres)


def test_the_target_of_a_simulated_prediction_is_its_displacement():
    stats = statistics(mean=np.linspace(-1, 1, 28).reshape(14, 2), log_ratio_std=0.5)
    _, true, labelled = poses(14, 8)
    true = np.float32(true)
    centres, diams = simulate(jax.random.key(0), true, labelled, stats, floor=1.0)
    targets = rb.to_frame(true, rb.refiner_boxes(centres, diams, 2.0))
    expected = np.broadcast_to(-stats.mean / 2, (8, 14, 2))
    np.testing.assert_allclose(targets, expected, atol=1e-5)


def test_without_a_torso_the_size_is_that_of_the_extent():
    hand = make_skeleton(("thumb", "index", "wrist"))
    pose = jnp.array([[[0.0, 0.0], [100.0, 20.0], [10.0, 400.0]]])
    share = rb.DIAM_PER_EXTENT
    assert rb.diam(pose, hand, 1.0)[0] == pytest.approx(400 * share)
    known = jnp.array([[True, True, False]])
    assert rb.diam(pose, hand, 1.0, known)[0] == pytest.approx(100 * share)
    assert rb.diam(pose, hand, 1.0, ~known & False)[0] == 1
    # Predictions of twice the size, of which the first image labels nothing.
    true = np.repeat(np.asarray(pose, np.float64), 3, 0)
    labelled = np.array([[False] * 3, [True] * 3, [True] * 3])
    stats = dp.fit_normals(2 * true, true, labelled, hand, 1.0)
    assert stats.log_ratio_mean == pytest.approx(np.log(2))
    np.testing.assert_allclose(stats.mean[1], np.array([100, 20]) / (800 * share), rtol=1e-5)
    centres, diams = dp.simulate(
        jax.random.key(0), jnp.asarray(true), jnp.asarray(labelled), stats, hand, 1.0
    )
    assert np.isfinite(centres).all()
    assert np.isfinite(diams).all()
