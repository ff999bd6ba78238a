"""Cross-fitting: who is trained on which images, and whose scores thresholds come from."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from anomaly_jax import folds as module
from anomaly_jax.data.load import load_parts
from anomaly_jax.folds import Batch, assign_folds
from anomaly_jax.predict import load
from anomaly_jax.train import train_and_evaluate
from anomaly_jax.train_step import train_step
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.order import SampleOrder
from tests.anomaly_jax.settings import tiny_config
from tests.anomaly_jax.test_train import settings, started

of_held_out = jax.jit(module.of_held_out)
seen_by = jax.jit(module.seen_by)


def test_folds_are_even_and_a_seeds_own():
    folds = assign_folds(23, 5, seed=1)
    assert sorted(np.bincount(folds)) == [4, 4, 5, 5, 5]
    np.testing.assert_array_equal(folds, assign_folds(23, 5, seed=1))
    assert (folds != assign_folds(23, 5, seed=2)).any()


def test_a_batch_shows_a_member_all_images_but_its_own_fold():
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    batch = Batch(images, np.array([0, 1, 2, 0, 1, 0]))
    shown = [np.asarray(seen_by(batch, member))[:, 0, 0, 0].tolist() for member in range(4)]
    assert shown == [[1, 2, 4, 1, 2, 4], [0, 2, 3, 5, 0, 2], [0, 1, 3, 4, 5, 0], [0, 1, 2, 3, 4, 5]]
    assert module.seen_by(Batch(images), jnp.array(0)) is images


@pytest.mark.parametrize(("count", "members", "batch_size"), [(10, 2, 3), (23, 5, 3), (213, 2, 8)])
def test_no_batch_is_all_of_one_fold(count, members, batch_size):
    folds = assign_folds(count, members, seed=0)
    steps = count // batch_size
    order = SampleOrder([0], count, batch_size, folds)
    for epoch in range(50):
        chosen = order(range(epoch * steps, (epoch + 1) * steps))
        assert all(len(set(folds[batch])) > 1 for batch in chosen)


def test_a_member_learns_nothing_from_its_own_fold():
    """Whatever the images of a member's fold show, its parameters and statistics after a step are the same."""
    config, optimizer = settings("batchnorm", members=2), optax.sgd(0.1)
    state, graphs = started(config, optimizer)
    fixed = {"graphdef": graphs.train, "optimizer": optimizer, "settings": config}
    step = jax.jit(lambda batch: train_step(state, batch, **fixed, key=jax.random.key(3))[0])
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    folds = np.array([0, 1, 0, 1, 1, 0], np.int32)
    other = images.copy()
    other[folds == 0] = 255 - other[folds == 0]
    first, second = jax.device_get((step(Batch(images, folds)), step(Batch(other, folds))))
    for member, alike in ((0, True), (1, False)):
        pairs = zip(
            jax.tree.leaves((first.params, first.model_state)),
            jax.tree.leaves((second.params, second.model_state)),
            strict=True,
        )
        assert all((a[member] == b[member]).all() for a, b in pairs) == alike


def test_held_out_images_have_their_own_members_values():
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    found = np.asarray(of_held_out(values, np.array([1, -1, 0])))
    np.testing.assert_array_equal(found[0], values[1, 0])
    np.testing.assert_array_equal(found[1], (values[0, 1] + values[1, 1]) / 2)
    np.testing.assert_array_equal(found[2], values[0, 2])


def test_a_run_takes_its_thresholds_from_all_good_images(tmp_path):
    config = tiny_config(
        members=2, thresholds__calibration="cross_fit", thresholds__image=0.2, train__epochs=1
    )
    results = train_and_evaluate(config, tmp_path / "run", pictures=False)
    assert results["splits"] == {"train": 10, "validation": 10, "test": 10}
    assert results["thresholds"]["promise"]["images"] == 10
    model = load(tmp_path / "run")
    run = model.settings
    good = load_parts(run.data, 32, run.seed, cross_fit=True).train.images.images
    folds = assign_folds(10, 2, run.seed)
    scores = np.asarray(model._detect(good, folds).scores)
    # Two of eleven may be above, one of which is the new image.
    assert (scores >= np.float32(model.thresholds.image)).sum() == 1
    alone = np.asarray(model._detect(good, 1 - folds).scores)
    assert (alone != scores).all()


def test_what_cross_fitting_needs_is_said():
    for changes, field in (
        ({"members": 1}, "members"),
        ({"members": 2, "train__batch_size": 2}, "train.batch_size"),
    ):
        config = tiny_config(thresholds__calibration="cross_fit", **changes)
        with pytest.raises(UserError, match=rf"config\.{field}: .* 'cross_fit'|config\.{field}: "):
            from_mapping(type(settings()), config)
