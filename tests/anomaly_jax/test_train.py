import csv
import json
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.metrics import roc_auc_score

from anomaly_jax import curves, report, training
from anomaly_jax.config import AnomalyConfig
from anomaly_jax.data.load import load_parts
from anomaly_jax.detector import Detector, as_values
from anomaly_jax.folds import Batch
from anomaly_jax.predict import load
from anomaly_jax.predictor import detect_step
from anomaly_jax.segmenter import focal
from anomaly_jax.train import train_and_evaluate
from anomaly_jax.train_step import painted, train_step
from engine_jax import sharding
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.state import create_state, graph_defs
from engine_jax.writer import read_metrics
from tests.anomaly_jax.mvtec_folder import tiny_mvtec
from tests.anomaly_jax.settings import tiny_config
from tests.figures import labels


def settings(preset="base", **changes) -> AnomalyConfig:
    return from_mapping(AnomalyConfig, tiny_config(preset, **changes))


def batch(n=4, size=32):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), np.uint8)


def started(config: AnomalyConfig, optimizer):
    """The first state and one detector's training graph."""
    build = partial(Detector, config.detector)
    state = create_state(
        build,
        optimizer,
        jax.random.key(0),
        sharding.replicated(sharding.device_mesh()),
        stack=config.members,
    )
    return state, graph_defs(build)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run of two members on nuts: its folder, its results, the images that it counted, and its figures by file."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    count, save = curves.count_image, report.save
    counted, figures = [], {}

    def recorded_count(scores, mask, thresholds):
        counted.append((scores.shape, scores.tobytes(), mask.tobytes()))
        return count(scores, mask, thresholds)

    def recorded_save(figure, path):
        figures[path.name] = figure
        save(figure, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "count_image", recorded_count)
        patch.setattr(report, "save", recorded_save)
        results = train_and_evaluate(tiny_config(members=2), workdir)
    return workdir, results, counted, figures


@pytest.fixture(scope="module")
def finished(recorded):
    """The run's folder and its results."""
    return recorded[:2]


def test_a_run_leaves_results_and_pictures(finished):
    workdir, results = finished
    assert json.loads((workdir / "results.json").read_text()) == results
    assert (results["task"], results["preset"]) == ("anomaly", "base")
    assert results["splits"] == {"train": 9, "validation": 1, "test": 10}
    assert set(results["defects"]) == {"crack", "cut", "hole", "print"}
    for scores in results["defects"].values():
        for threshold in ("0.1", "0.15", "0.2", "0.3", "good_only"):
            assert set(scores[threshold]) > {"recall", "precision", "accuracy"}
    for name in ("pixel_auroc", "image_auroc", "aupro", "ap"):
        assert 0 <= results[name] <= 1
    assert results["thresholds"]["grid"] == [0.1, 0.15, 0.2, 0.3]
    assert results["thresholds"]["promise"] == {
        "images": 1,
        "wanted": 0.05,
        "rate": 0.5,
        "band": [pytest.approx(0.025), pytest.approx(0.975)],
    }
    pictures = {path.name for path in (workdir / "plots").iterdir()}
    assert pictures == {
        *("loss.png", "accuracies.png", "curves.png", "image_scores.png", "pixel_scores.png"),
        "detections.png",
        *(f"detections_{name}.png" for name in ("good", "crack", "cut", "hole", "print")),
    }


def test_the_scores_of_all_test_images_stand_in_a_table(finished):
    """And they give the results again."""
    workdir, results = finished
    with (workdir / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows[:3]] == ["good nut 10", "good nut 11", "crack nut 12"]
    assert [row["kind"] for row in rows] == [
        kind for kind in ("good", "crack", "cut", "hole", "print") for _ in range(2)
    ]
    scores = np.array([float(row["score"]) for row in rows])
    faulty = np.array([row["kind"] != "good" for row in rows])
    assert results["image_auroc"] == pytest.approx(roc_auc_score(faulty, scores))
    image = results["image_level"]["good_only"]
    predicted = np.array([row["predicted"] == "faulty" for row in rows])
    assert image["recall"] == predicted[faulty].mean()
    assert {float(row["threshold"]) for row in rows} == {image["threshold"]}
    np.testing.assert_array_equal(predicted, scores >= image["threshold"])
    parts, true = (
        np.array([float(row[column]) for row in rows])
        for column in ("faulty_part", "true_faulty_part")
    )
    pixel = results["good_only"]
    hits, false_alarms = (
        pixel["recall"] * true.sum(),
        pixel["false_positive_rate"] * (1 - true).sum(),
    )
    assert parts.sum() == pytest.approx(hits + false_alarms, rel=1e-4)


def test_results_are_there_before_anything_is_drawn_and_pictures_are_drawn_again(
    finished, tmp_path, monkeypatch
):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    pictures = {path.name for path in (workdir / "plots").iterdir()}
    written = [workdir / "scores.csv", workdir / "results.json"]  # The latter calls a run finished.
    expected = [path.read_bytes() for path in written]
    for path in written:
        path.unlink()
    shutil.rmtree(workdir / "plots")

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report, "drawing", killed)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(tiny_config(members=2), workdir)
    assert [path.read_bytes() for path in written] == expected
    assert [path.stat().st_mtime_ns for path in written] == sorted(
        path.stat().st_mtime_ns for path in written
    )
    assert train_and_evaluate(tiny_config(members=2), workdir) == finished[1]
    assert not any((workdir / "plots").iterdir())
    train_and_evaluate(tiny_config(members=2), workdir, redraw=True)
    assert {path.name for path in (workdir / "plots").iterdir()} == pictures
    assert written[1].read_bytes() == expected[1]


def test_the_accuracies_by_epoch_end_at_the_final_ones(finished):
    workdir, results = finished
    rows = read_metrics(workdir / "metrics.jsonl", training.NAME)
    last = [row for row in rows if row["epoch"] == results["best_epoch"]][-1]
    for rate in ("recall", "accuracy"):
        assert last[f"test/hole/0.2/{rate}"] == results["defects"]["hole"]["0.2"][rate]
    assert last["test/pixel_auroc"] == pytest.approx(results["pixel_auroc"], abs=1e-12)


def test_thresholds_come_from_the_held_out_good_images_alone(finished):
    workdir, results = finished
    model = load(workdir)
    parts = load_parts(model.settings.data, 32, model.settings.seed)
    (good,) = model.predict(list(parts.validation.images.images))
    expected = np.sort(good.anomaly_map.ravel())[-11]  # 1 % of 1024 pixels may reach it
    assert results["thresholds"]["good_only"]["pixel"] == pytest.approx(expected, rel=1e-5)
    # But for rounding: a single image is another batch than the run had.
    assert abs((good.anomaly_map >= model.thresholds.pixel).sum() - 10) <= 1


def test_the_report_counts_each_image_once_and_draws_what_it_writes(recorded):
    _, results, counted, figures = recorded
    groups = {"all": results, **results["defects"]}
    assert [shape for shape, *_ in counted] == [(32, 32)] * results["images"]
    assert len(set(counted)) == results["images"]

    legends = [labels(ax) for ax in figures["curves.png"].axes if labels(ax)]
    for area, legend in zip(("pixel_auroc", "aupro", "ap"), legends, strict=True):
        drawn = {name: value for value, name in (entry.split(maxsplit=1) for entry in legend)}
        for name, scores in groups.items():
            assert drawn[name] == f"{scores[area]:.3f}"
    for level in ("pixel", "image"):
        oracle = results[f"{level}_oracle"]["threshold"]
        line = next(line for line in figures[f"{level}_scores.png"].findobj(is_oracle))
        assert line.get_xdata()[0] == oracle
    assert set(results["thresholds"]) == {"grid", "good_only", "promise"}


def is_oracle(artist) -> bool:
    return artist.get_label() == "oracle"


def test_a_killed_run_ends_as_one_that_was_never_killed(finished, tmp_path, monkeypatch):
    config = tiny_config(members=2)
    epochs, evaluated = training.epoch_metrics, []

    def killed(*arguments):
        if evaluated:
            raise KeyboardInterrupt
        evaluated.append(True)
        return epochs(*arguments)

    monkeypatch.setattr(training, "epoch_metrics", killed)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(config, tmp_path / "run", pictures=False)
    monkeypatch.setattr(training, "epoch_metrics", epochs)
    resumed = train_and_evaluate(config, tmp_path / "run", pictures=False)
    rows = [
        read_metrics(path / "metrics.jsonl", training.NAME)
        for path in (finished[0], tmp_path / "run")
    ]
    assert rows[0] == rows[1]
    assert {k: v for k, v in resumed.items() if "second" not in k} == {
        k: v for k, v in finished[1].items() if "second" not in k
    }


def test_members_learn_on_their_own_and_the_map_is_their_mean():
    optimizer = optax.adam(1e-2)
    config = settings(members=2, augment__noise=0.1)
    state, graphs = started(config, optimizer)
    step = jax.jit(
        lambda state: train_step(
            state,
            Batch(batch()),
            graphdef=graphs.train,
            optimizer=optimizer,
            settings=config,
            key=jax.random.key(3),
        )
    )
    losses = []
    for _ in range(8):
        state, loss = step(state)
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    detect = jax.jit(partial(detect_step, graphdef=graphs.evaluate, scoring=config.scoring))
    found = detect(state.variables, batch())
    single = []
    for i in range(2):
        part = jax.tree.map(lambda x, i=i: x[i : i + 1], state.variables)
        single.append(detect(part, batch()))
    np.testing.assert_allclose(found.maps, (single[0].maps + single[1].maps) / 2, atol=1e-6)
    np.testing.assert_allclose(found.spread, abs(single[0].maps - single[1].maps) / 2, atol=1e-6)
    assert np.abs(single[0].maps - single[1].maps).max() > 1e-3
    # An image that a member holds out is scored by that member alone.
    folds = np.arange(len(batch()), dtype=np.int32) % 3 - 1
    held_out = detect(state.variables, batch(), folds)
    for i, fold in enumerate(folds):
        expected = found if fold < 0 else single[fold]
        np.testing.assert_allclose(held_out.maps[i], expected.maps[i], atol=1e-6)
    assert (single[0].spread == 0).all()


def test_the_segmenters_loss_teaches_the_segmenter_only():
    config = settings("discriminative")
    model = nnx.jit(lambda: Detector(config.detector, rngs=nnx.Rngs(0)))()
    images = as_values(batch(2))
    graphdef, params, others = nnx.split(model, nnx.Param, ...)

    @jax.jit
    @jax.grad
    def gradients(params):
        output = nnx.merge(graphdef, params, others, copy=True)(images)
        return focal(output.logits, jnp.ones(images.shape[:3])).mean()

    found = gradients(params)
    largest = {name: max(jnp.abs(g).max() for g in jax.tree.leaves(found[name])) for name in found}
    assert largest["segmenter"] > 0
    assert largest["autoencoder"] == 0


def test_painted_faults_are_inputs_and_never_targets():
    config = settings("discriminative", faults__share=1.0)
    good = np.asarray(as_values(batch(4)))
    paint = jax.jit(painted, static_argnums=2)
    samples = jax.device_get(paint(jax.random.key(0), good, config))
    assert (samples.targets == good).all()
    changed = np.abs(samples.inputs - good).max(-1)
    assert (changed[samples.faults > 0] > config.faults.visible).all()
    assert samples.faults.any()
    plain = jax.device_get(paint(jax.random.key(0), good, settings("base")))
    assert (plain.inputs == good).all()
    assert not plain.faults.any()


def test_the_discriminative_preset_runs_to_its_end(tmp_path):
    results = train_and_evaluate(
        tiny_config("discriminative", train__epochs=1), tmp_path / "run", pictures=False
    )
    assert results["method"] == "discriminative"
    found = load(tmp_path / "run").predict(list(batch(1)))
    assert 0 <= found[0].anomaly_map.min() <= found[0].anomaly_map.max() <= 1


def test_a_defect_without_masks_is_scored_by_image_only(tmp_path, caplog):
    """Here without fixed thresholds too."""
    folder = tiny_mvtec(tmp_path / "bolts", train=6)
    for image in [*folder.glob("test/*/001.png"), *folder.glob("test/*/002.png")]:
        image.unlink()
    for mask in folder.glob("ground_truth/*/00[12]_mask.png"):
        mask.unlink()
    for mask in (folder / "ground_truth" / "crack").iterdir():
        mask.unlink()
    config = tiny_config(
        data__dataset="mvtec",
        data__dir=str(folder),
        train__epochs=1,
        data__validation=0.2,
        thresholds__grid=(),
    )
    results = train_and_evaluate(config, tmp_path / "run")
    assert "test/crack has no masks" in caplog.text
    assert "not drawn" not in caplog.text
    assert results["thresholds"]["grid"] == []
    assert results["dataset"] == "bolts"
    crack, stamp = results["defects"]["crack"], results["defects"]["print"]
    assert crack["pixel_auroc"] is None
    assert crack["image_auroc"] is not None
    assert stamp["pixel_auroc"] is not None
    assert (tmp_path / "run" / "plots" / "detections_crack.png").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__batch_size": 12}, "config.train.batch_size: 12 is more than the 9 training"),
        ({"loss__window": 6}, "config.loss.window: 6; accepted: an odd number"),
        ({"scoring__window": 33}, "config.scoring.window: 33"),
        ({"scoring__sigma": 8.5}, "config.scoring.sigma: 8.5; accepted: a Gaussian that reaches"),
        ({"thresholds__pixel": 2.0}, "config.thresholds.pixel: 2.0 is out of range"),
        ({"model__input_size": 30}, "30"),
        ({"data__validation": 1.0}, "config.data.validation: 1.0 is out of range"),
        ({"data__dataset": "mvtec", "data__dir": "/nowhere"}, "/nowhere"),
    ],
)
def test_bad_settings_get_one_line_before_anything_is_written(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train_and_evaluate(tiny_config(**changes), tmp_path / "run", pictures=False)
    assert not (tmp_path / "run").exists()
