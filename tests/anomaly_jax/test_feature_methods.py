"""PaDiM and PatchCore: against slow computations, and as runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from anomaly_jax import feature_training
from anomaly_jax.config import SCHEMA, AnomalyConfig
from anomaly_jax.data.load import load_parts
from anomaly_jax.embedding import joined
from anomaly_jax.feature_detector import abstract_detector
from anomaly_jax.folds import assign_folds
from anomaly_jax.padim import PadimConfig, fit_gaussians
from anomaly_jax.patchcore import MemoryBank, PatchcoreConfig, fit_bank, greedy_coreset
from anomaly_jax.predict import load
from anomaly_jax.train import train_and_evaluate
from configs.anomaly import get_config
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.run_folder import RunFolder
from tests.anomaly_jax.settings import tiny_config


def embeddings(n=12, size=2, channels=5, seed=0):
    rng = np.random.default_rng(seed)
    return (3 + rng.normal(size=(n, size, size, channels))).astype(np.float32)


def test_gaussians_are_each_places_mean_and_covariance():
    good, other = embeddings(), embeddings(3, seed=1)
    batches = (jnp.asarray(good[i : i + 5]) for i in (0, 5, 10))
    found = fit_gaussians(batches, PadimConfig(channels=3), jax.random.key(0))
    kept = np.asarray(found.projection[...]).argmax(0)
    assert len(set(kept)) == 3
    distances = found(jnp.asarray(other))
    for y, x in np.ndindex(2, 2):
        at = good[:, y, x][:, kept].astype(np.float64)
        inverse = np.linalg.inv(np.cov(at.T) + 0.01 * np.eye(3))
        away = other[:, y, x][:, kept] - at.mean(0)
        expected = np.sqrt(np.einsum("bi,ij,bj->b", away, inverse, away))
        np.testing.assert_allclose(distances[:, y, x], expected, rtol=1e-4)


def test_orthogonal_directions_keep_lengths_where_there_are_as_many_as_channels():
    config = PadimConfig(channels=5, reduction="orthogonal")
    found = fit_gaussians([jnp.asarray(embeddings())], config, jax.random.key(0))
    directions = np.asarray(found.projection[...])
    np.testing.assert_allclose(directions.T @ directions, np.eye(5), atol=1e-5)
    whole = fit_gaussians([jnp.asarray(embeddings())], PadimConfig(), jax.random.key(0))
    other = jnp.asarray(embeddings(2, seed=2))
    np.testing.assert_allclose(found(other), whole(other), rtol=1e-4)


def test_the_coreset_is_the_greedy_one():
    patches = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    found = np.asarray(greedy_coreset(jnp.asarray(patches), jnp.asarray(7), 10))
    chosen = [7]
    for _ in range(9):
        chosen.append(int(cdist(patches, patches[chosen]).min(1).argmax()))
    assert found.tolist() == chosen


def test_distances_and_the_weighted_score_equal_their_definitions():
    rng = np.random.default_rng(0)
    bank, image = rng.normal(size=(20, 4)).astype(np.float32), embeddings(2, 3, 4, seed=5)
    distances, scores = MemoryBank(jnp.asarray(bank), neighbours=4)(jnp.asarray(image))
    for i in range(2):
        away = cdist(image[i].reshape(9, 4), bank)
        np.testing.assert_allclose(distances[i].reshape(9), away.min(1), rtol=1e-4)
        worst = away.min(1).argmax()
        nearest = away[worst].argmin()
        neighbours = cdist(bank[[nearest]], bank)[0].argsort()[:4]
        assert nearest in neighbours
        weight = 1 - np.exp(away[worst, nearest]) / np.exp(away[worst, neighbours]).sum()
        np.testing.assert_allclose(scores[i], weight * away[worst].min(), rtol=1e-4)
    _, plain = MemoryBank(jnp.asarray(bank), neighbours=1)(jnp.asarray(image))
    np.testing.assert_allclose(plain, np.asarray(distances).max((1, 2)))


def test_the_bank_holds_a_share_of_the_good_patches():
    good = embeddings(20, 3, 6)
    batches = [good[:7], good[7:14], good[14:]]
    bank = fit_bank(batches, PatchcoreConfig(coreset=0.1, projection=3), jax.random.key(0))
    patches = np.asarray(bank.patches[...])
    assert patches.shape == (18, 6)
    assert cdist(patches, good.reshape(-1, 6)).min(1).max() == 0
    few = fit_bank(batches, PatchcoreConfig(coreset=1, candidates=30), jax.random.key(0))
    drawn = np.asarray(few.patches[...])
    # Those that are drawn at random come from all batches.
    origin = cdist(drawn, good.reshape(-1, 6)).argmin(1) // (9 * 7)
    assert set(origin.tolist()) == {0, 1, 2}
    assert len(np.unique(drawn, axis=0)) == 30


def test_maps_are_averaged_and_joined_at_the_first_ones_size():
    rng = np.random.default_rng(0)
    fine, coarse = rng.normal(size=(1, 4, 4, 2)), rng.normal(size=(1, 2, 2, 3))
    found = np.asarray(joined([jnp.asarray(fine), jnp.asarray(coarse)], 3))
    assert found.shape == (1, 4, 4, 5)
    np.testing.assert_allclose(found[0, 1, 2, :2], fine[0, 0:3, 1:4].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(found[0, 0, 0, :2], fine[0, :2, :2].mean((0, 1)), rtol=1e-5)
    # Every neighbourhood of the small map holds all of it.
    np.testing.assert_allclose(
        found[0, :, :, 2:], np.broadcast_to(coarse[0].mean((0, 1)), (4, 4, 3)), rtol=1e-5
    )
    alone = joined([jnp.asarray(fine), jnp.asarray(coarse)])
    np.testing.assert_allclose(alone[..., :2], fine, rtol=1e-6)


def method(name, **changes):
    small = {
        "embedding__backbone": "lenet5",
        "embedding__blocks": ("convs.0", "convs.1"),
        "members": 2,
        "scoring__sigma": 1.0,
        "padim__channels": 8,
        "patchcore__coreset": 0.1,
        "model__input_size": 32,
    }
    return tiny_config(name, **(small | changes))


@pytest.fixture(scope="module", params=["padim", "patchcore"])
def run(request, tmp_path_factory):
    """A method's run: its folder, its results, what its detectors were fitted to, and the names of what they scored."""
    workdir = tmp_path_factory.mktemp("runs") / request.param
    fit, applied = feature_training.fit_feature_detector, feature_training._applied
    fitted, scored = [], []

    def recorded(embedding, images, settings, key):
        fitted.append(images)
        return fit(embedding, images, settings, key)

    def recorded_scores(detector, part, **named):
        scored.append(part.names)
        return applied(detector, part, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_training, "fit_feature_detector", recorded)
        patch.setattr(feature_training, "_applied", recorded_scores)
        drawing = request.param == "padim"
        results = train_and_evaluate(method(request.param), workdir, pictures=drawing)
    return workdir, results, fitted, scored


def test_a_run_fits_scores_and_predicts(run):
    workdir, results, *_ = run
    assert results["method"] == workdir.name
    assert results["thresholds"]["promise"]["images"] == 10
    assert 0 <= results["pixel_auroc"] <= 1  # By random weights.
    drawn = {path.name for path in (workdir / "plots").iterdir()}
    assert ("detections.png" in drawn) == (workdir.name == "padim")
    assert "loss.png" not in drawn
    model = load(workdir)
    parts = load_parts(model.settings.data, 32, model.settings.seed, cross_fit=True)
    test = parts.test.images
    found = model.predict(list(test.images))
    scores = np.array([prediction.pred_score for prediction in found])
    wrong = (scores[~test.faulty] >= model.thresholds.image).mean()
    assert results["image_level"]["good_only"]["false_positive_rate"] == wrong
    assert found[0].spread is None


def test_folds_leave_their_images_out(run):
    """Every good image is scored by a detector that wasn't fitted to it."""
    workdir, _, fitted, scored = run
    settings = RunFolder(workdir).read_settings(SCHEMA)
    parts = load_parts(settings.data, 32, settings.seed, cross_fit=True)
    good, names = parts.train.images.images, np.array(parts.train.names)
    folds = assign_folds(10, 2, settings.seed)
    for images, expected in zip(fitted, (good, good[folds != 0], good[folds != 1]), strict=True):
        np.testing.assert_array_equal(images, expected)
    assert scored[:2] == [names[folds == 0].tolist(), names[folds == 1].tolist()]
    assert scored[2:] == [parts.test.names]


def test_what_they_cannot_use_is_said_before_anything_is_written(tmp_path):
    for changes, said in (
        ({"embedding__backbone": "resnet19"}, "config.embedding.backbone: 'resnet19'; accepted: "),
        ({"embedding__blocks": ()}, "config.embedding.blocks"),
        ({"embedding__blocks": ("stages.5",)}, "there is no block 'stages.5'"),
        ({"embedding__neighbourhood": 2}, "config.embedding.neighbourhood: 2"),
        ({"embedding__weights": str(tmp_path / "none.safetensors")}, r"none\.safetensors"),
    ):
        with pytest.raises(UserError, match=said):
            train_and_evaluate(method("padim", **changes), tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "channels"), [("padim", 24 + 32 + 96), ("patchcore", 32 + 96)])
def test_presets_have_blocks_that_their_network_has(name, channels):
    config = from_mapping(AnomalyConfig, get_config(name).to_dict())
    memory = abstract_detector(config, patches=7).memory
    if name == "padim":
        assert memory.projection.shape == (channels, 100)
        assert memory.mean.shape == (64, 64, 100)
    else:
        assert memory.patches.shape == (7, channels)
