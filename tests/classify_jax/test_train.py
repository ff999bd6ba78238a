import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from classify_jax import load, networks, predict, report, training
from classify_jax.config import ClassificationConfig
from classify_jax.data import fit
from classify_jax.data.load import load_parts
from classify_jax.networks import ModelConfig, build
from classify_jax.train import train_and_evaluate
from engine_jax import checkpoint, sharding
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.loop import best_variables
from engine_jax.phases import history
from engine_jax.plan import make_plan
from engine_jax.run_folder import RunFolder
from engine_jax.state import abstract_model, variables_by_name
from engine_jax.writer import read_metrics
from tests import programs
from tests.classify_jax.image_folder import image_folder
from tests.classify_jax.settings import ONE_VIEW, shrink, tiny_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on shapes."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    return workdir, train_and_evaluate(tiny_config(), workdir)


def test_a_run_leaves_results_and_pictures(finished):
    workdir, results = finished
    assert json.loads((workdir / "results.json").read_text()) == results
    assert (results["task"], results["preset"]) == ("classify", "demo")
    assert results["splits"] == {"train": 20, "validation": 8, "test": 12}
    assert results["classes"] == list(results["per_class"])
    assert np.sum(results["confusion"]) == 12
    right = np.trace(results["confusion"])
    assert results["top1_error"] == pytest.approx(1 - right / 12)
    assert results["views"] == 10
    # Test images 28 .. 39 are of classes 8, 9, 0, ..., 9, and every class has two training images.
    assert results["floor"]["top1_error"] == pytest.approx(11 / 12)
    pictures = {path.stem for path in (workdir / "plots").iterdir()}
    assert pictures >= {"loss", "accuracy", "confusion", "examples", "filters"}
    rows = read_metrics(workdir / "metrics.jsonl", training.NAME)
    assert sum("validation/top1_error" in row for row in rows) == 2
    assert all(0 <= row["train/top5_error"] <= 1 for row in rows if "train/top5_error" in row)


def test_training_errors_are_of_a_sample_of_all_classes(tmp_path, monkeypatch):
    folder = image_folder(tmp_path / "pets", {"cat": 20, "dog": 20})
    errors, seen = training._errors, []

    def observed(part, found, labels):
        if part == "train":
            seen.append(labels)
        return errors(part, found, labels)

    monkeypatch.setattr(training, "_errors", observed)
    config = tiny_config(train__epochs=1, data__dataset="folder", data__dir=str(folder), **ONE_VIEW)
    train_and_evaluate(config, tmp_path / "run", pictures=False)
    data = from_mapping(ClassificationConfig, config).data
    parts = load_parts(data, seed=config["seed"])
    (labels,) = seen
    assert not parts.train.labels[: len(labels)].any()  # The first ones show cats alone.
    assert set(labels) == {0, 1}
    expected = parts.train.sample(len(parts.validation), config["seed"])
    np.testing.assert_array_equal(labels, expected.labels)


def test_a_killed_run_ends_as_one_that_was_never_killed(finished, tmp_path, monkeypatch):
    errors, evaluated = training._errors, []

    def killed(*arguments):
        if len(evaluated) > 1:
            raise KeyboardInterrupt
        evaluated.append(True)
        return errors(*arguments)

    monkeypatch.setattr(training, "_errors", killed)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(tiny_config(), tmp_path / "run", pictures=False)
    monkeypatch.setattr(training, "_errors", errors)
    resumed = train_and_evaluate(tiny_config(), tmp_path / "run", pictures=False)
    runs = (finished[0], tmp_path / "run")
    first, second = (read_metrics(path / "metrics.jsonl", training.NAME) for path in runs)
    assert first == second
    assert {k: v for k, v in resumed.items() if "second" not in k} == {
        k: v for k, v in finished[1].items() if "second" not in k
    }


def test_results_are_there_before_anything_is_drawn(finished, tmp_path, monkeypatch):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    (workdir / "results.json").unlink()

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "drawing", killed)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(tiny_config(), workdir)
    assert json.loads((workdir / "results.json").read_text()) == finished[1]


def test_pictures_are_drawn_again_and_results_stay(finished, tmp_path, caplog):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    shutil.rmtree(workdir / "plots")
    (workdir / "metrics.jsonl").write_text("")  # The curves can't be drawn, all else can.
    written = (workdir / "results.json").read_bytes()
    train_and_evaluate(tiny_config(), workdir, redraw=True)
    assert (workdir / "results.json").read_bytes() == written
    pictures = {path.stem for path in (workdir / "plots").iterdir()}
    assert pictures >= {"confusion", "examples", "filters"}
    assert f"not drawn: {workdir / 'plots' / 'loss.png'}: history: no rows" in caplog.text


def test_damaged_results_are_computed_again(finished, tmp_path, caplog):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    for text in ("{}", "", '{"task": "classify"'):
        (workdir / "results.json").write_text(text)
        assert train_and_evaluate(tiny_config(), workdir, pictures=False) == finished[1]
    assert "the results are computed again" in caplog.text
    assert json.loads((workdir / "results.json").read_text()) == finished[1]


@pytest.mark.parametrize("classes", [None, [], "abc", [1, 2], ["a", "a"]])
def test_results_without_classes_are_named(classes, finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    (workdir / "results.json").write_text(json.dumps(finished[1] | {"classes": classes}))
    with pytest.raises(UserError, match=r"results\.json: damaged \(its classes are"):
        load(workdir)


def test_a_loaded_classifier_is_the_one_that_the_last_checkpoint_calls_the_best(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    best = workdir / "checkpoints" / training.NAME / "best"
    expected = load(workdir).predict(np.zeros((40, 40, 3), np.uint8))[0].probabilities
    # As if it had been killed after a better one was written, before the last one.
    newest = checkpoint.steps(best)[0]
    shutil.copytree(best / str(newest), best / "99")
    shutil.rmtree(best / "99" / "state")
    found = load(workdir).predict(np.zeros((40, 40, 3), np.uint8))[0].probabilities
    np.testing.assert_array_equal(found, expected)
    shutil.rmtree(best / str(newest) / "state")
    with pytest.raises(UserError, match="this checkpoint is damaged"):
        load(workdir)


def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_from_scratch(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    (workdir / "results.json").unlink()
    for step in (workdir / "checkpoints" / training.NAME / "last").iterdir():
        shutil.rmtree(step / "state")
    with pytest.raises(UserError, match="none before it can be read"):
        train_and_evaluate(tiny_config(), workdir, pictures=False)


def test_a_loaded_classifier_gives_what_the_run_reported(finished):
    workdir, results = finished
    model = load(workdir)
    test = load_parts(model.settings.data, model.settings.seed).test
    found = model.predict(list(test.images))
    wrong = np.mean(
        [p.label != test.class_names[k] for p, k in zip(found, test.labels, strict=True)]
    )
    assert wrong == pytest.approx(results["top1_error"])
    np.testing.assert_allclose([p.probabilities.sum() for p in found], 1, rtol=1e-5)
    alone = model.predict(list(test.images[:1]))
    np.testing.assert_allclose(alone[0].probabilities, found[0].probabilities, atol=1e-5)
    assert model.predict([]) == []
    with pytest.raises(UserError, match=r"images\[0\]: float64"):
        model.predict([np.zeros((4, 4, 3))])


call = partial(programs.call, predict)


def test_predictions_of_files(finished, tmp_path, monkeypatch, capsys):
    folder = image_folder(tmp_path, {"images": 2}) / "images"
    arguments = ("--workdir", finished[0], "--out", tmp_path / "out")
    assert call(monkeypatch, folder, *arguments) == 0
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    with Image.open(folder / "01.png") as image:
        (found,) = load(finished[0]).predict([np.asarray(image)])
    assert [Path(entry["file"]).name for entry in written] == ["00.png", "01.png"]
    assert written[1]["label"] == found.label == next(iter(written[1]["top"]))
    assert written[1]["probability"] == pytest.approx(found.probability, rel=1e-5)
    assert len(written[1]["top"]) == 5
    (folder / "00.png").write_bytes(b"no image")
    capsys.readouterr()
    assert call(monkeypatch, folder, *arguments) == 1
    assert "00.png: can't be read" in capsys.readouterr().err
    assert call(monkeypatch, folder, *arguments, "--skip-unreadable") == 0
    assert call(monkeypatch, folder, "--workdir", tmp_path, "--out", tmp_path / "out") == 1
    assert "not a run's folder" in capsys.readouterr().err


def test_a_folder_of_two_classes_balanced_and_with_class_weights(tmp_path, monkeypatch):
    balanced, make_train_call = [], training.make_train_call

    def noted(*arguments, balance, **named):
        balanced.append(np.bincount(balance).tolist())
        return make_train_call(*arguments, balance=balance, **named)

    monkeypatch.setattr(training, "make_train_call", noted)
    folder = image_folder(tmp_path / "pets", {"cat": 12, "dog": 6})
    config = tiny_config(
        data__dataset="folder",
        data__dir=str(folder),
        data__balanced=True,
        loss__class_weights="median_frequency",
        train__epochs=1,
        train__batch_size=4,
        **ONE_VIEW,
    )
    results = train_and_evaluate(config, tmp_path / "run", pictures=False)
    assert results["dataset"] == "pets"
    assert results["top5_error"] is None
    assert results["views"] == 1
    assert results["single_view"]["top1_error"] == results["top1_error"]
    assert results["floor"]["top1_error"] == pytest.approx(2 / 6)  # always a cat
    # By the classes of the training images: of 12 cats 2 and 4 are held out, of 6 dogs 1 and 2.
    assert balanced == [[6, 3]]


def ones_file(path):
    """Weights of the tiny network, with torchvision's names of a ResNet; every number is 1."""
    features = abstract_model(
        lambda rngs: build(ModelConfig(networks.NARROW), 2, rngs=rngs)
    ).features
    theirs = {"kernel": "weight", "scale": "weight", "bias": "bias"}
    theirs |= {"mean": "running_mean", "var": "running_var"}
    tensors = {}
    for name, array in variables_by_name(features).items():
        *place, leaf = name.split(".")
        module = re.sub(r"stages\.(\d)\.blocks", lambda m: f"layer{int(m[1]) + 1}", ".".join(place))
        module = module.replace("norm", "bn").replace("shortcut.conv", "downsample.0")
        module = module.replace("shortcut.bn", "downsample.1")
        module = {"conv": "conv1", "bn": "bn1"}.get(module, module)
        tensors[f"{module}.{theirs[leaf]}"] = np.ones(
            [array.shape[i] for i in ((3, 2, 0, 1) if array.ndim == 4 else (0,))], np.float32
        )
    safetensors.numpy.save_file(tensors, path)
    return str(path)


def arrays_of(workdir, phase, settings):
    """All arrays of the best parameters of a phase, by name."""
    network = partial(build, settings.model, 10)
    plan = make_plan(settings.train, settings.evaluation.every, 20, sharding.device_mesh())
    phases = settings.transfer.phases(training.NAME, plan)
    (trained,) = (p.trained for p in phases if p.name == phase)
    found = best_variables(RunFolder(workdir), phase, network, trained=trained).by_name()
    return {name: np.asarray(array) for name, array in found.items()}


def test_a_frozen_network_keeps_the_weights_it_was_given(tmp_path, monkeypatch):
    shrink(monkeypatch)
    config = tiny_config(
        model__name=networks.NARROW,
        model__weights=ones_file(tmp_path / "ones.safetensors"),
        transfer__train=("features.stages.3", "head", "logits"),
        model__head=(6,),
        train__epochs=1,
        **ONE_VIEW,
    )
    train_and_evaluate(config, tmp_path / "run", pictures=False)
    settings = from_mapping(ClassificationConfig, config)
    arrays = arrays_of(tmp_path / "run", training.NAME, settings)
    assert arrays["head.0.kernel"].shape == (8, 6)
    chosen = {name for name in arrays if not name.startswith("features.")}
    chosen |= {name for name in arrays if name.startswith("features.stages.3.")}
    frozen = {name for name, array in arrays.items() if (array == 1).all()}
    assert frozen == arrays.keys() - chosen
    model = load(tmp_path / "run")
    (found,) = model.predict([np.zeros((40, 40, 3), np.uint8)])
    assert np.isfinite(found.probabilities).all()


@pytest.mark.parametrize(
    ("name", "frozen", "field", "value", "evaluated"),
    [
        (networks.NARROW, ("features",), "thaw_after_epochs", 1, [1, 2]),
        ("lenet5", ("features", "hidden"), "thaw_after_steps", 1, [0.5, 1.5, 2]),
        ("lenet5", ("features", "hidden"), "thaw_after_steps", 2, [1, 2]),
    ],
)
def test_thawed_features_start_from_what_was_trained(
    name, frozen, field, value, evaluated, tmp_path, monkeypatch
):
    shrink(monkeypatch)
    config = tiny_config(
        model__name=name,
        transfer__train=("logits",),
        transfer__rates=tuple((block, 0.0) for block in frozen),
        **{f"transfer__{field}": value},
        **ONE_VIEW,
    )
    results = train_and_evaluate(config, tmp_path / "run", pictures=False)
    assert results["epochs"] == 2
    settings = from_mapping(ClassificationConfig, config)
    first, second = (
        arrays_of(tmp_path / "run", phase, settings)
        for phase in ("classifier_frozen", training.NAME)
    )
    # Thawed features learn at a rate of 0 here, but their batch norms see batches again.
    changed = {name for name in first if not np.array_equal(first[name], second[name])}
    statistics = {n for n in first if n.startswith("features.") and n.endswith(("mean", "var"))}
    assert bool(statistics) == (name == networks.NARROW)
    assert changed == statistics | {"logits.kernel", "logits.bias"}
    rows = history(tmp_path / "run" / "metrics.jsonl", settings.transfer.phase_names(training.NAME))
    assert [row["epoch"] for row in rows if "validation/loss" in row] == evaluated
    steps = [row["step"] for row in rows if "train/loss" in row]
    assert steps == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__batch_size": 24}, "config.train.batch_size: 24 is more than the 20 training"),
        ({"model__input_size": 37}, "config.model.input_size: 37 is more than the 36 px"),
        ({"model__name": "alexnet_lrn"}, "config.model.input_size: 32: .* at least 67 px"),
        ({"model__name": "lenet6"}, "config.model.name: 'lenet6'; accepted: resnet10_narrow, le"),
        (
            {"transfer__train": ("fc",)},
            "config.transfer.train: .* 'fc' .*: features, hidden, logits",
        ),
        ({"model__weights": "/nowhere.pth"}, "/nowhere.pth: no such file"),
        ({"transfer__thaw_after_epochs": 2}, "config.transfer.thaw_after_epochs: 2 of 2 epochs"),
        ({"transfer__thaw_after_steps": 4}, "config.transfer.thaw_after_steps: 4 of 4 steps"),
        (
            {"transfer__thaw_after_epochs": 1, "transfer__thaw_after_steps": 1},
            "config.transfer.thaw_after_steps: 1, but config.transfer.thaw_after_epochs is 1",
        ),
        ({"data__dataset": "folder"}, "config.data.dir: missing"),
        ({"data__dataset": "tfds"}, "config.data.name: missing"),
        ({"data__dataset": "folder", "data__dir": "/nowhere"}, "/nowhere: no such folder"),
        ({"data__test": 0.9}, "config.data.test: 0.9 and 0.2 for validation leave nothing"),
        ({"evaluation__crops": "ten"}, "config.evaluation.crops: 'ten' is not one of"),
        ({"loss__class_weights": "inverse"}, "'inverse' is not one of none, median_frequency"),
    ],
)
def test_bad_settings_get_one_line_before_anything_is_written(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train_and_evaluate(tiny_config(**changes), tmp_path / "run", pictures=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("preset", ["demo", "alexnet", "transfer"])
def test_presets_are_accepted(preset):
    from configs.classify import get_config

    settings = from_mapping(ClassificationConfig, get_config(preset).to_dict())
    assert settings.preset == preset
    assert fit(Image.new("RGB", (9, 7)), settings.data.size).shape[0] == settings.data.size
