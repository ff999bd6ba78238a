import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from deeppose_jax import evaluate, load, metrics, save
from deeppose_jax.skeleton import LSP, observer_centric
from engine_jax import cli
from tests.deeppose_jax.cascades import random_cascade

N = 6
SIZES = np.full((N, 2), (100, 80))
ALL = np.ones((3, 14), bool)


@pytest.fixture
def files(tmp_path):
    """A joints.mat for N images, predictions for the last three of them, and the arrays."""
    rng = np.random.default_rng(0)
    true = rng.uniform(1, 100, (N, 14, 2))
    pred = true[3:] + rng.normal(0, 8, (3, 14, 2))
    occluded = rng.random((N, 14, 1)) < 0.5
    joints = np.concatenate([true, occluded], -1).transpose(2, 1, 0)
    savemat(tmp_path / "joints.mat", {"joints": joints})
    savemat(tmp_path / "pred.mat", {"pred": pred.transpose(2, 1, 0)})
    return tmp_path, true, pred


def program(monkeypatch, folder, *extra, joints="joints.mat", pred="pred.mat", images="4:6"):
    argv = ["evaluate", "--joints", str(folder / joints), "--predictions", str(folder / pred)]
    argv += ["--images", images] if images else []
    monkeypatch.setattr(sys, "argv", [*argv, *extra])
    cli.run(evaluate.main, evaluate.parser())


def test_json_is_the_score_of_the_range_and_nothing_else(files, monkeypatch, capsys):
    folder, true, pred = files
    program(monkeypatch, folder, "--json", "--labels", "OC", "--thresholds", "0.05,0.3")
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert found.pop("labels") == "OC"
    assert found.pop("image_range") == "4:6"
    assert found.pop("mean_pose") is None
    assert found.pop("missing_joints") == 0
    assert found == metrics.score(pred, true[3:], np.ones((3, 14), bool), LSP, (0.05, 0.3))


def test_a_joint_that_is_missing_is_a_miss_and_is_counted(files, monkeypatch, capsys):
    folder, _, pred = files
    missing, far = pred.copy(), pred.copy()
    missing[1, 2] = np.nan, 5.0
    missing[2, 0] = np.inf
    far[1, 2] = far[2, 0] = 1e6
    found = {}
    for name, poses in {"missing": missing, "far": far}.items():
        savemat(folder / "some.mat", {"pred": poses.transpose(2, 1, 0)})
        program(monkeypatch, folder, "--json", pred="some.mat")
        found[name] = json.loads(capsys.readouterr().out)
    assert found["missing"].pop("missing_joints") == 2
    assert found["far"].pop("missing_joints") == 0
    assert found["missing"] == found["far"]
    savemat(folder / "some.mat", {"pred": missing.transpose(2, 1, 0)})
    program(monkeypatch, folder, pred="some.mat")
    assert "2 of 42 predicted joints are missing and count as misses" in capsys.readouterr().out


def test_predictions_for_every_image_are_sliced(files, monkeypatch, capsys):
    folder, true, pred = files
    whole = np.concatenate([true[:3] + 50, pred])
    savemat(folder / "whole.mat", {"pred": whole.transpose(2, 1, 0)})
    program(monkeypatch, folder, "--json")
    part = capsys.readouterr().out
    program(monkeypatch, folder, "--json", pred="whole.mat")
    assert capsys.readouterr().out == part
    program(monkeypatch, folder, "--json", pred="whole.mat", images=None)
    everything = json.loads(capsys.readouterr().out)
    assert everything["image_range"] == "1:6"
    assert everything["images"] == 6


def test_one_image_whose_last_axis_matlab_drops(files, monkeypatch, capsys):
    folder, _, pred = files
    savemat(folder / "one.mat", {"pred": pred[0].T})
    program(monkeypatch, folder, "--json", pred="one.mat", images="4:4")
    assert json.loads(capsys.readouterr().out)["images"] == 1


def test_lsp_extended_is_masked_by_its_flag_and_by_its_coordinates(tmp_path):
    joints = np.full((14, 3, 2), 5.0)
    joints[:, 2] = 1
    joints[0, 2, 0] = 0  # not labelled
    joints[1, 0, 0] = 0  # x <= 0
    joints[2, 1, 1] = -3  # y <= 0
    joints[3, 0, 1] = np.nan
    savemat(tmp_path / "joints.mat", {"joints": joints})
    found, labelled = evaluate.load_joints(tmp_path / "joints.mat")
    expected = np.ones((2, 14), bool)
    expected[0, [0, 1]] = expected[1, [2, 3]] = False
    np.testing.assert_array_equal(labelled, expected)
    assert np.all(found[labelled] == 5)


def test_lsp_s_occluded_joints_are_labelled(files):
    folder, true, _ = files
    joints, labelled = evaluate.load_joints(folder / "joints.mat")
    assert labelled.all()
    np.testing.assert_array_equal(joints, true)


def test_the_floor_is_the_mean_of_the_other_images_in_each_image_s_square():
    # MATLAB's pixels: a 20 x 10 image has its middle at (10.5, 5.5).
    sizes = np.array([[20, 10], [20, 20], [40, 100]])
    joints = np.zeros((3, 14, 2))
    joints[0] = (10.5 + 4, 5.5 - 2)  # (0.2, -0.1) of the longer side.
    joints[1] = (10.5 + 8, 10.5 - 2)  # (0.4, -0.1)
    labelled = np.ones((3, 14), bool)
    labelled[1, 5] = False
    found = evaluate.mean_pose_predictions(joints, labelled, sizes, slice(2, 3))
    expected = np.tile([20.5 + 30, 50.5 - 10], (1, 14, 1))
    expected[0, 5] = (20.5 + 20, 50.5 - 10)
    np.testing.assert_allclose(found, expected)


def test_floor_of_lsp(real_data):
    lsp = real_data / "lsp"
    joints, labelled = evaluate.load_joints(lsp / "joints.mat")
    sizes, chosen = evaluate.image_sizes(lsp / "images", 2000), slice(1000, 2000)
    floor = evaluate.mean_pose_predictions(joints, labelled, sizes, chosen)
    score = metrics.score(floor, joints[chosen], labelled[chosen], LSP, resamples=0)
    limbs = [score[name]["four_limbs"] for name in ("pcp_strict", "pcp_loose")]
    totals = [score["pdj"][threshold]["total"] for threshold in ("0.1", "0.2", "0.5")]
    assert limbs == pytest.approx([17.6, 29.6], abs=0.05)
    assert totals == pytest.approx([5.0, 18.1, 66.3], abs=0.05)


def test_table_shows_scores_intervals_and_floor(files, monkeypatch, capsys):
    folder, true, pred = files
    for i in range(N):
        Image.new("RGB", (100, 80)).save(folder / f"im{i + 1:04}.png")
    program(monkeypatch, folder, "--image-folder", str(folder), "--labels", "PC")
    out = capsys.readouterr().out
    score = metrics.score(pred, true[3:], np.ones((3, 14), bool), LSP)
    low, high = score["intervals"]["pcp_strict"]["torso"]
    sizes = np.full((N, 2), (100, 80))
    floor = evaluate.mean_pose_predictions(true, np.ones((N, 14), bool), sizes, slice(3, 6))
    guess = metrics.score(floor, true[3:], np.ones((3, 14), bool), LSP)["pcp_strict"]["torso"]
    row = next(line for line in out.splitlines() if line.startswith("torso"))
    value = score["pcp_strict"]["torso"]
    assert f"{value:.1f} [{low:.1f}, {high:.1f}] ({guess:.1f})" in row
    assert "person-centric" in out
    assert "left out" not in out
    program(monkeypatch, folder)
    out = capsys.readouterr().out
    assert "left out" in out
    assert "not stated" in out


def test_person_centric_predictions_are_renamed_by_the_viewers_sides(files, monkeypatch, capsys):
    folder, true, _ = files
    joints = true[3:].copy()
    # Images 4 and 5 show a back and a front; in image 6 the legs are crossed, the shoulders aren't.
    for image, (hips, shoulders) in enumerate([(False, False), (True, True), (True, False)]):
        for crossed, right, left in ((hips, 2, 3), (shoulders, 8, 9)):
            joints[image, [right, left], 0] = (60, 40) if crossed else (40, 60)
    expected = joints.copy()
    legs, arms = [5, 4, 3, 2, 1, 0], [11, 10, 9, 8, 7, 6]
    expected[1:, :6] = joints[1:, legs]
    expected[1, 6:12] = joints[1, arms]
    savemat(folder / "pred.mat", {"pred": joints.transpose(2, 1, 0)})
    program(monkeypatch, folder, "--json", "--observer-centric")
    found = json.loads(capsys.readouterr().out)
    assert found["pdj"] == metrics.score(expected, true[3:], np.ones((3, 14), bool), LSP)["pdj"]


def test_most_observer_centric_labels_are_the_renamed_person_centric_ones(real_data):
    person = evaluate.load_joints(real_data / "lsp" / "joints.mat")[0]
    observer = evaluate.load_joints(real_data / "lsp" / "joints_observer_centric.mat")[0]
    for side, share in (("hip", 0.93), ("shoulder", 0.92)):
        right, left = (LSP.joints.index(f"{name}_{side}") for name in ("right", "left"))
        assert (observer[:, right, 0] < observer[:, left, 0]).mean() == pytest.approx(
            share, abs=0.005
        )
    renamed = observer_centric(person, LSP)
    near = np.abs(renamed - observer).max((1, 2)) < 3
    assert near.mean() > 0.8
    assert (np.abs(person - observer).max((1, 2)) < 3).mean() < 0.65


BAD = {
    "missing joints": ({"joints": "none.mat"}, (), "none.mat: no such file"),
    "missing predictions": ({"pred": "none.mat"}, (), "none.mat: no such file"),
    "not a MATLAB file": ({"pred": "text.mat"}, (), "text.mat: can't be read as a MATLAB file"),
    "cut short": ({"pred": "cut.mat"}, (), "cut.mat: can't be read as a MATLAB file"),
    "an array of class 99": ({"pred": "class.mat"}, (), "class.mat: can't be read as a MATLAB"),
    "no pred": ({"pred": "joints.mat"}, (), "no variable `pred`, found joints"),
    "no joints": ({"joints": "pred.mat"}, (), "no variable `joints`, found pred"),
    "joints' shape": ({"joints": "shape.mat"}, (), "`joints` has shape [14, 2, 6]; accepted: [3"),
    "pred's shape": ({"pred": "shape.mat"}, (), "pred has shape [3, 14, 2]; accepted is [2, 14"),
    "text": ({"pred": "word.mat"}, (), "`pred` is of type <U4"),
    "number": ({"pred": "pred.mat", "images": "3:6"}, (), "pred has 3 poses; accepted are 4 "),
    "range outside": ({"images": "4:7"}, (), "got '4:7'; accepted is FIRST:LAST"),
    "range from zero": ({"images": "0:2"}, (), "within 1:6"),
    "range backwards": ({"images": "5:4"}, (), "got '5:4'"),
    "range in words": ({"images": "test"}, (), "got 'test'"),
    "thresholds": ({}, ("--thresholds", "0.1,x"), "--thresholds: got '0.1,x'"),
    "threshold zero": ({}, ("--thresholds", "0"), "--thresholds: got '0'"),
    "image folder": ({}, ("--image-folder", "nowhere"), "nowhere: no such folder"),
    "image count": ({}, ("--image-folder", "."), "0 images, but --joints has 6 poses"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_1(files, case, monkeypatch, capsys):
    folder = files[0]
    monkeypatch.chdir(folder)
    (folder / "text.mat").write_text("not a MATLAB file, however long the text of it may be" * 9)
    whole = (folder / "pred.mat").read_bytes()
    (folder / "cut.mat").write_bytes(whole[: len(whole) // 2])
    (folder / "class.mat").write_bytes(whole[:144] + b"\x63" + whole[145:])
    savemat("shape.mat", {"joints": np.ones((14, 2, N)), "pred": np.ones((3, 14, 2))})
    savemat("word.mat", {"pred": "four"})
    names, extra, message = BAD[case]
    with pytest.raises(SystemExit) as exit_:
        program(monkeypatch, folder, *extra, "--json", **names)
    out, err = capsys.readouterr()
    assert exit_.value.code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


def test_images_sizes_are_upright_and_in_the_order_of_their_numbers(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Stored lying on its side.
    for number in (1, 2, 10):
        Image.new("RGB", (10 + number, 5)).save(tmp_path / f"im{number}.jpg")
    Image.new("RGB", (30, 20)).save(tmp_path / "im3.jpg", exif=exif)
    (tmp_path / "._im1.jpg").touch()
    sizes = evaluate.image_sizes(tmp_path, 4)
    assert sizes.tolist() == [[11, 5], [12, 5], [20, 30], [20, 5]]


def test_an_unreadable_image_is_named(files, monkeypatch, capsys):
    folder, *_ = files
    for i in range(N):
        (folder / f"im{i + 1:04}.jpg").write_bytes(b"no picture")
    with pytest.raises(SystemExit):
        program(monkeypatch, folder, "--image-folder", str(folder))
    assert "im0001.jpg: can't be read as an image" in capsys.readouterr().err


def test_the_floor_is_of_what_images_outside_the_range_label(files, monkeypatch, capsys):
    folder, true, pred = files
    savemat(folder / "whole.mat", {"pred": true.transpose(2, 1, 0)})
    for i in range(N):
        Image.new("RGB", (100, 80)).save(folder / f"im{i + 1:04}.png")
    program(monkeypatch, folder, "--image-folder", str(folder), pred="whole.mat", images=None)
    assert "mean-pose floor: left out; it takes labelled images outside" in capsys.readouterr().out
    joints = np.concatenate([true, np.zeros((N, 14, 1))], -1)
    joints[:3, :6, :2] = np.nan  # No leg is labelled outside of the range.
    savemat(folder / "joints.mat", {"joints": joints.transpose(2, 1, 0)})
    program(monkeypatch, folder, "--image-folder", str(folder), "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["pcp_strict"] == metrics.score(pred, true[3:], ALL, LSP)["pcp_strict"]
    floor = evaluate.mean_pose_predictions(true, np.ones((N, 14), bool), SIZES, slice(3, 6))
    arms = np.broadcast_to(np.arange(14) >= 6, (3, 14))
    expected = metrics.score(floor, true[3:], arms, LSP)
    assert found["mean_pose"] == expected
    assert expected["pcp_strict"]["lower_leg"] is None
    assert expected["pcp_strict"]["head"] is not None


def test_as_a_program(files):
    folder, *_ = files
    command = [sys.executable, "-m", "deeppose_jax.evaluate", "--json", "--images", "4:6"]
    command += ["--joints", folder / "joints.mat", "--predictions"]
    good = subprocess.run([*command, folder / "pred.mat"], capture_output=True, text=True)
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["images"] == 3
    bad = subprocess.run([*command, folder / "none.mat"], capture_output=True, text=True)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr.count("\n") == 1


def test_a_models_own_poses_are_scored(files, tmp_path, monkeypatch, capsys):
    folder, true, _ = files
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(1)
    for i in range(N):
        pixels = rng.integers(0, 256, (50, 40, 3), np.uint8)
        Image.fromarray(pixels).save(images / f"im{i + 1}.png")
    save(random_cascade("shared"), tmp_path / "model.safetensors")
    argv = ["evaluate", "--joints", str(folder / "joints.mat"), "--images", "4:6", "--json"]
    model = ["--workdir", str(tmp_path / "model.safetensors"), "--image-folder", str(images)]
    monkeypatch.setattr(sys, "argv", [*argv, *model])
    cli.run(evaluate.main, evaluate.parser())
    found = json.loads(capsys.readouterr().out)
    predicted = load(tmp_path / "model.safetensors").predict(
        [images / f"im{i}.png" for i in (4, 5, 6)]
    )
    # MATLAB's pixels start at 1.
    expected = metrics.score(
        np.stack([pose.joints + 1 for pose in predicted]), true[3:], np.ones((3, 14), bool), LSP
    )
    assert found["pdj"] == expected["pdj"]
    assert found["pcp_strict"] == expected["pcp_strict"]
    assert found["mean_pose"] is not None


def test_neither_predictions_nor_images_is_one_line(files, monkeypatch, capsys):
    folder, _, _ = files
    monkeypatch.setattr(sys, "argv", ["evaluate", "--joints", str(folder / "joints.mat")])
    with pytest.raises(SystemExit):
        cli.run(evaluate.main, evaluate.parser())
    expected = "give --predictions, or --image-folder for a model's own predictions"
    assert expected in capsys.readouterr().err
