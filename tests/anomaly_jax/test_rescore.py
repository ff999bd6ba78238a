"""A finished run scored again without training."""

import json

import numpy as np
import pytest
from PIL import Image

from anomaly_jax import rescore, synthetic
from anomaly_jax.predict import load
from anomaly_jax.train import train_and_evaluate
from engine_jax.errors import UserError
from tests.anomaly_jax.settings import tiny_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    return workdir, train_and_evaluate(tiny_config(train__epochs=2), workdir, pictures=False)


def again(workdir, out, *flags):
    arguments = ["--workdir", str(workdir), "--out", str(out), "--no-pictures", *flags]
    rescore.main(rescore.parser().parse_args(arguments))
    return json.loads((out / "results.json").read_text())


def scored(results):
    return {name: results[name] for name in ("pixel_auroc", "image_auroc", "defects", "thresholds")}


def test_without_a_change_the_scores_come_out_again(finished, tmp_path):
    workdir, results = finished
    found = again(workdir, tmp_path / "again")
    assert scored(found) == scored(results)
    assert found["epochs"] == 0
    # The new folder is a run of its own.
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    (first,), (second,) = (load(run).predict(image) for run in (workdir, tmp_path / "again"))
    np.testing.assert_array_equal(first.anomaly_map, second.anomaly_map)


def test_smoothing_and_rates_change_scores_and_thresholds(finished, tmp_path):
    workdir, results = finished
    flags = ("--sigma", "2", "--image-rate", "0.5", "--pixel-share", "0.2")
    found = again(workdir, tmp_path / "smooth", *flags)
    assert found["pixel_auroc"] != results["pixel_auroc"]
    assert found["thresholds"]["promise"]["wanted"] == 0.5
    assert found["thresholds"]["good_only"]["pixel"] < results["thresholds"]["good_only"]["pixel"]
    model = load(tmp_path / "smooth")
    assert model.settings.scoring.sigma == 2
    assert model.thresholds.pixel == found["thresholds"]["good_only"]["pixel"]


def test_thresholds_come_from_a_folder_of_good_images(finished, tmp_path):
    workdir, results = finished
    good = synthetic.nuts(7, 30, 32, None, 0)[0]
    (tmp_path / "good").mkdir()
    for i, image in enumerate(good):
        Image.fromarray(image).save(tmp_path / "good" / f"{i}.png")
    found = again(workdir, tmp_path / "recalibrated", "--good", str(tmp_path / "good"))
    assert found["thresholds"]["promise"]["images"] == 30
    assert found["pixel_auroc"] == results["pixel_auroc"]
    model = load(tmp_path / "recalibrated")
    scores = np.array([prediction.pred_score for prediction in model.predict(list(good))])
    assert (scores >= model.thresholds.image).sum() == 0  # With the new image one of 31.
    assert (scores >= model.thresholds.image * (1 - 1e-5)).sum() == 1


def test_a_run_of_other_images_or_networks_is_refused(finished, tmp_path):
    workdir, _ = finished
    for changes, said in (
        ({"seed": 1}, "config.seed: 0 there, 1 here"),
        ({"model__bottleneck": 7}, "bottleneck"),
    ):
        config = tiny_config(start=str(workdir), **changes)
        with pytest.raises(UserError, match=said):
            train_and_evaluate(config, tmp_path / "other")
        assert not (tmp_path / "other").exists()
    with pytest.raises(UserError, match="cross_fit"):
        train_and_evaluate(
            tiny_config(data__good="x", members=2, thresholds__calibration="cross_fit"),
            tmp_path / "other",
        )


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(UserError):
        again(tmp_path / "nothing", tmp_path / "out")
