import json
import re
import sys
from importlib.util import find_spec

import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from engine_jax.errors import UserError
from launch_jax import command, config_files, train
from launch_jax.flags import parse
from tests.deeppose_jax.lsp_folder import tiny_lsp
from tests.deeppose_jax.runs import ROOT, TINY, launch, launch_here


@pytest.fixture
def lsp(tmp_path):
    return tiny_lsp(tmp_path / "lsp", count=20).path


def error_of(*arguments, preset="augmented", config="configs/pose.py"):
    """The message of the error that ends a run, in this process: every run begins with an import of JAX."""
    named = f"--config={ROOT / config}:{preset}"
    with pytest.raises(UserError) as error:
        train.launch("launch.py", [named, *map(str, arguments), "--nopictures"])
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config.data.folder=x"],
            "--config.data.folder: no such field; config.data has canvas, coco, dataset",
        ),
        (
            ["--config.seed.more=1"],
            "--config.seed.more: no such field; config.seed is a single value",
        ),
        (["--config.train.epochs=many"], "--config.train.epochs=many: invalid literal for int()"),
        (["--config.train.epochs=0"], "config.train.epochs: 0 is out of range; accepted: >= 1"),
        (
            ["--config.model.alexnet.norm=group"],
            "config.model.alexnet.norm: 'group' is not one of lrn, batch, none",
        ),
        (["--frobnicate=1"], "Unknown command line flag 'frobnicate'"),
        (["stray"], "unexpected argument 'stray'"),
        (["--config=configs/nothing.py"], "'configs/nothing.py' is not a file"),
        (["--config=configs/pose.py:best"], "unknown preset 'best'; accepted: demo, report"),
        (["--config.data.dir=/nowhere"], "/nowhere: not found"),
        (
            ["--config.train.batch_size=30"],
            "config.train.batch_size: 30 is more than the 6 training images",
        ),
        (["--config.model.input_size=16"], "too small for this AlexNet"),
        (
            ["--config.data.dataset=lsp_and_extended", "--config.data.labels=OC"],
            "config.data.labels: 'OC', but LSP Extended is labelled person-centric",
        ),
    ],
)
def test_bad_flags_and_fields_get_one_line(arguments, message, lsp, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    assert message in error_of(*TINY, f"--config.data.dir={lsp}", workdir, *arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("preset", "arguments", "message"),
    [
        ("best", [], "unknown preset 'best'; accepted: demo, base"),
        (
            "demo",
            ["--config.model.norm=group"],
            "config.model.norm: 'group' is not one of none, batch",
        ),
        ("large", ["--config.data.dataset=mvtec", "--config.data.dir=/nowhere"], "/nowhere"),
    ],
)
def test_anomaly_detection_is_launched_alike(preset, arguments, message, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    assert message in error_of(*arguments, workdir, preset=preset, config="configs/anomaly.py")


@pytest.mark.parametrize("debug", ["--nodebug", "--debug"])
def test_an_error_is_one_line_and_with_debug_a_traceback(debug, tmp_path):
    done = launch("--config.data.dir=/nowhere", f"--workdir={tmp_path}", debug)
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) == (debug == "--debug")
    if debug == "--nodebug":
        assert done.stderr.strip().splitlines()[-1].startswith("error: /nowhere: not found")


def empty(lsp):
    for path in lsp.rglob("*.*"):
        path.unlink()


def reshaped(lsp):
    savemat(lsp / "joints.mat", {"joints": loadmat(lsp / "joints.mat")["joints"][:, :13]})


def missing_image(lsp):
    (lsp / "images" / "im0007.jpg").unlink()


def unreadable(lsp):
    (lsp / "images" / "im0003.jpg").write_bytes(b"not an image")


@pytest.mark.parametrize(
    ("damage", "message"),
    [(empty, "joints.mat"), (reshaped, "13"), (missing_image, "19"), (unreadable, "im0003.jpg")],
)
def test_a_damaged_data_set_gets_one_line(damage, message, lsp, tmp_path):
    damage(lsp)
    workdir = f"--workdir={tmp_path / 'run'}"
    assert message in error_of(*TINY, f"--config.data.dir={lsp}", workdir)


@pytest.fixture(scope="module")
def skipping(tmp_path_factory):
    """What is launched in a folder, without a workdir, on a data set with an unreadable image, and what came of it."""
    folder = tmp_path_factory.mktemp("skipping")
    data = tiny_lsp(folder / "lsp", count=20).path
    unreadable(data)
    arguments = (*TINY, f"--config.data.dir={data}", "--config.train.epochs=1")
    arguments += ("--config.data.skip_unreadable=True",)
    done = launch_here(*arguments, preset="report", cwd=folder, pictures=True)
    assert done.returncode == 0, done.stderr
    return arguments, folder / "runs" / "pose-report", done.stderr


def test_unreadable_images_are_skipped_where_asked(skipping):
    _, workdir, said = skipping
    assert "im0003.jpg" in said
    splits = json.loads((workdir / "results.json").read_text())["splits"]
    assert sum(splits.values()) == 19


def test_the_run_folder_has_a_default_name(skipping):
    with Image.open(skipping[1] / "plots" / "poses_test.png") as picture:
        assert picture.size[0] >= 1000


def test_a_workdir_of_another_config_is_refused(skipping):
    arguments, workdir, _ = skipping
    changed = (*arguments, f"--workdir={workdir}", "--config.seed=5")
    assert "config.seed: 0 there, 5 here" in error_of(*changed, preset="report")


@pytest.mark.parametrize(
    "given",
    [
        ("--config=pose:small",),
        ("--config", "pose:small"),
        ("-config", "configs/pose.py:small"),
        ("--config=anomaly", "--config=pose:small"),
    ],
)
def test_a_config_is_given_by_name_or_file(given, monkeypatch):
    monkeypatch.chdir(ROOT)
    flags = parse("launch.py", ["--config.seed=7", *given, "--config.stages", "2"])
    config = flags.config
    assert (config.task, config.preset, config.seed, config.stages) == ("pose", "small", 7, 2)
    assert flags.workdir == "runs/pose-small"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--config=posse"],
            "--config: 'posse' is not a file; accepted: anomaly, classify, pose, or",
        ),
        (["--config="], "--config: missing; accepted: anomaly, classify, pose, or a file such as"),
        (["--config"], "--config: missing; accepted: "),
        ([], "--config: missing; accepted: "),
        (["--config=pose:best"], "--config=pose: unknown preset 'best'; accepted: demo, report"),
        (["--config=launch.py"], "--config: 'launch.py' has no function get_config; accepted: "),
        (["--config=pose", "--noconfig.x"], "--noconfig.x: no such field; config has augment, "),
        (["--config=pose", "--config.task=hands"], "config.task: 'hands'; accepted: pose, anomaly"),
    ],
)
def test_an_unknown_config_gets_the_accepted_ones(given, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match="^" + re.escape(message)):
        train.launch("launch.py", given)


def test_a_name_counts_before_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pose").write_text("no config")
    assert config_files.read("pose")[1].preset == "demo"


@pytest.mark.parametrize("name", config_files.named())
def test_the_first_preset_is_the_default(name):
    path = config_files.named()[name]
    assert config_files.read(name)[1].preset == config_files.presets(path)[0]


# In a program of its own nothing has imported the module that it runs.
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "usage: deeppose-jax COMMAND"),
        (["fit"], 2, "invalid choice: 'fit' (choose from"),
        (["train"], 1, "error: --config: missing; accepted: anomaly, classify, pose"),
        (["predict-pose", "--out", "x"], 1, "error: no images; accepted: IMAGE_OR_FOLDER"),
        (["predict-anomaly", "--out", "x"], 2, "the following arguments are required"),
    ],
)
def test_the_command_says_what_it_takes(arguments, status, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["deeppose-jax", *arguments])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == status
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("module", command.PROGRAMS.values())
def test_the_command_runs_programs_that_exist(module):
    assert find_spec(f"{module}.__main__" if module.endswith(".data") else module)


def test_help_lists_configs_and_presets(capsys):
    train.main("deeppose-jax train", ["--help"])
    printed = capsys.readouterr().out
    assert "Usage: deeppose-jax train --config=CONFIG[:PRESET]" in printed
    assert "  pose      demo, report, augmented, paper, small, modern\n" in printed


def test_a_number_that_may_be_missing_is_given_and_taken_back():
    transfer = "--config=classify:transfer"
    field = "--config.transfer.thaw_after_epochs"

    def thaw(*arguments):
        return parse("train", arguments).config.transfer.thaw_after_epochs

    assert thaw(transfer) == 5
    assert thaw(transfer, f"{field}=2") == 2
    assert thaw(transfer, f"{field}=None") is None
    assert thaw("--config=classify:demo", f"{field}=3") == 3
    assert parse("train", (transfer, "--config.data.dir=None")).config.data.dir == "None"


def test_pictures_are_drawn_again_where_asked(tmp_path, monkeypatch):
    asked = []

    def train_and_evaluate(config, workdir, redraw, pictures):
        del config, workdir, pictures
        asked.append(redraw)

    monkeypatch.setattr(train, "task", lambda name: train_and_evaluate)
    arguments = [f"--config={ROOT / 'configs/classify.py'}", f"--workdir={tmp_path / 'run'}"]
    for more in ([], ["--redraw"]):
        train.launch("launch.py", [*arguments, *more])
    assert asked == [False, True]
