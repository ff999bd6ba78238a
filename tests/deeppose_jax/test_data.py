"""Reading LSP and LSP Extended, their parts, and the check."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from deeppose_jax.data import open_folder, open_lsp, open_lsp_extended, splits
from deeppose_jax.data.check import main, parser
from deeppose_jax.data.load import load_parts
from engine_jax.errors import UserError
from tests.deeppose_jax.lsp_folder import tiny_lsp, tiny_lsp_extended
from tests.deeppose_jax.settings import settings


def stack(records, field):
    return np.stack([getattr(record, field) for record in records])


def zipped(folder: Path, archive: Path, above: str = "") -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, Path(above) / path.relative_to(folder))
    return archive


def rewrite(folder: Path, change) -> None:
    """Changes the array in a folder's joints.mat."""
    path = folder / "joints.mat"
    savemat(path, {"joints": change(loadmat(path)["joints"])})


def test_lsp_is_read_as_it_was_written(tmp_path):
    folder = tiny_lsp(tmp_path / "lsp")
    records = open_lsp(folder.path)
    assert [record.name for record in records] == [f"im{i:04d}.jpg" for i in range(1, 7)]
    np.testing.assert_allclose(stack(records, "joints"), folder.joints, atol=1e-12)
    np.testing.assert_array_equal(stack(records, "occluded"), folder.occluded)
    assert stack(records, "labelled").all()
    assert records[2].read() == (folder.path / "images/im0003.jpg").read_bytes()


def test_lsp_extended_is_read_as_it_was_written(tmp_path):
    folder = tiny_lsp_extended(tmp_path / "lspet")
    records = open_lsp_extended(folder.path)
    labelled = stack(records, "labelled")
    np.testing.assert_array_equal(labelled, folder.labelled)
    assert not labelled.all()
    np.testing.assert_allclose(
        stack(records, "joints")[labelled], folder.joints[labelled], atol=1e-12
    )
    assert records[0].occluded is None


def test_a_flagged_joint_at_or_below_zero_is_unlabelled_in_lsp_extended_only(tmp_path):
    extended = tiny_lsp_extended(tmp_path / "lspet")
    lsp = tiny_lsp(tmp_path / "lsp")

    def move_extended(array):
        array[2, :, 0] = (0, 20, 1)
        array[9, :, 1] = (20, -0.2, 1)
        return array

    def move_lsp(array):
        array[:, 2, 0] = (-0.5, 20, 0)
        array[:, 3, 0] = (0, 0, 0)
        return array

    rewrite(extended.path, move_extended)
    rewrite(lsp.path, move_lsp)
    records = open_lsp_extended(extended.path)
    assert [bool(records[i].labelled[j]) for i, j in ((0, 2), (0, 9), (1, 9))] == [0, 1, 0]
    first = open_lsp(lsp.path)[0]
    assert first.labelled[2]
    np.testing.assert_array_equal(first.joints[2], (-1.5, 19))
    assert np.flatnonzero(~first.labelled).tolist() == [3]


def test_observer_centric_labels(tmp_path):
    folder = tiny_lsp(tmp_path / "lsp")
    right_ankle, left_ankle = 0, 5
    records = open_lsp(folder.path, "OC")
    np.testing.assert_allclose(
        stack(records, "joints")[:, right_ankle], folder.joints[:, left_ankle], atol=1e-12
    )
    beside = folder.path / "joints_observer_centric.mat"
    beside.rename(folder.path / "LSP-joints-OC.mat")
    again = open_lsp(folder.path, "OC")
    np.testing.assert_array_equal(stack(again, "joints"), stack(records, "joints"))
    (folder.path / "LSP-joints-OC.mat").unlink()
    with pytest.raises(UserError, match=r"joints_observer_centric\.mat or LSP-joints-OC\.mat"):
        open_lsp(folder.path, "OC")


@pytest.mark.parametrize("above", ["", "lsp_dataset"])
def test_a_zip_and_a_folder_above_are_the_same_as_the_folder(tmp_path, above):
    folder = tiny_lsp(tmp_path / "data" / "lsp")
    plain = open_lsp(folder.path)
    archive = zipped(folder.path, tmp_path / "lsp_dataset.zip", above)
    for other in (open_lsp(archive), open_lsp(tmp_path / "data"), open_lsp(tmp_path)):
        assert [record.name for record in other] == [record.name for record in plain]
        assert [record.read() for record in other] == [record.read() for record in plain]
        np.testing.assert_array_equal(stack(other, "joints"), stack(plain, "joints"))


@pytest.mark.parametrize(
    ("make", "opened"),
    [(tiny_lsp, open_lsp), (tiny_lsp_extended, open_lsp_extended)],
    ids=["LSP", "LSP Extended"],
)
def test_images_may_be_beside_joints_mat_and_names_may_have_backslashes(make, opened, tmp_path):
    folder = make(tmp_path / "lsp")
    expected = [record.read() for record in opened(folder.path)]
    archive = tmp_path / "windows.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.path.rglob("*.*")):
            name = path.relative_to(tmp_path).as_posix().replace("/", "\\")
            file.writestr(zipfile.ZipInfo(name), path.read_bytes())
    assert [record.read() for record in opened(archive)] == expected
    for image in (folder.path / "images").iterdir():
        image.rename(folder.path / image.name)
    (folder.path / "images").rmdir()
    assert [record.read() for record in opened(folder.path)] == expected


def test_what_is_not_used_is_named_with_its_number(tmp_path, caplog):
    folder = tiny_lsp(tmp_path / "lsp").path
    (folder / "visualized").mkdir()
    for name in ("visualized/im0001.jpg", "images/im0001.gif", "README.txt", "._joints.mat"):
        (folder / name).write_bytes(b"")
    open_lsp(folder)
    assert caplog.messages == [
        f"{folder}: 2 files are not used: 1 .gif in images, 1 .jpg in visualized"
    ]


def test_open_folder_tells_the_two_apart(tmp_path):
    lsp, extended = tiny_lsp(tmp_path / "a"), tiny_lsp_extended(tmp_path / "b")
    assert open_folder(lsp.path)[0] == "lsp"
    assert open_folder(extended.path)[0] == "lspet"
    assert len(open_lsp(tmp_path)) == len(open_lsp_extended(tmp_path)) == 6
    with pytest.raises(UserError, match="more than one data set"):
        open_folder(tmp_path)
    with pytest.raises(UserError, match="found LSP Extended; expected LSP"):
        open_lsp(extended.path)


def test_one_image_whose_last_axis_matlab_has_dropped(tmp_path):
    folder = tiny_lsp(tmp_path / "lsp", count=1)
    rewrite(folder.path, lambda array: array[:, :, 0])
    np.testing.assert_allclose(open_lsp(folder.path)[0].joints, folder.joints[0], atol=1e-12)


def test_images_are_ordered_by_number(tmp_path):
    folder = tiny_lsp(tmp_path / "lsp", count=11)
    for image in (folder.path / "images").iterdir():
        image.rename(image.with_name(f"im{int(image.stem[2:])}.jpg"))
    # What Macs and Windows leave in a folder.
    for name in ("._im3.jpg", ".DS_Store", "Thumbs.db"):
        (folder.path / "images" / name).touch()
    names = [record.name for record in open_lsp(folder.path)]
    assert names == [f"im{i}.jpg" for i in range(1, 12)]


def broken(folder: Path, how: str) -> Path:
    """Damages an LSP folder, or puts something else in its place."""
    joints, images = folder / "joints.mat", folder / "images"
    if how == "missing":
        return folder / "elsewhere"
    if how == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif how == "no joints":
        joints.unlink()
    elif how == "no images":
        shutil.rmtree(images)
    elif how == "fewer images":
        (images / "im0006.jpg").unlink()
    elif how == "a gap":
        (images / "im0003.jpg").rename(images / "im0007.jpg")
    elif how == "shape":
        rewrite(folder, lambda array: array[:, :13])
    elif how == "flag":
        rewrite(folder, lambda array: array + 0.25)
    elif how == "variable":
        savemat(joints, {"poses": np.zeros(3)})
    elif how == "type":
        savemat(joints, {"joints": "none"})
    elif how == "not matlab":
        joints.write_bytes(b"not a MATLAB file" * 20)
    elif how == "cut":
        joints.write_bytes(joints.read_bytes()[:700])
    elif how == "zip":
        archive = zipped(folder, folder.parent / "lsp_dataset.zip")
        archive.write_bytes(archive.read_bytes()[:3000])
        return archive
    return folder


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "elsewhere: not found; expected a folder or zip"),
        ("empty", r"no joints\.mat, .* found nothing"),
        ("no joints", r"no joints\.mat, .* found images, joints_observer_centric\.mat"),
        ("no images", r"no images imN\.jpg or \.png in images/ or beside joints\.mat"),
        ("fewer images", r"5 images named .* joints\.mat has 6 poses"),
        ("a gap", "no image numbered 3; expected 1 to 6"),
        ("shape", r"shape \[3, 13, 6\]; accepted: \[3, 14, n\] \(LSP\)"),
        ("flag", r"\(occluded\) is 0\.25; accepted: 0 or 1"),
        ("variable", "no variable `joints`, found poses"),
        ("type", "accepted: real numbers"),
        ("not matlab", r"joints\.mat: can't be read .* MATLAB file"),
        ("cut", r"joints\.mat: can't be read .* MATLAB file"),
        ("zip", "neither a folder nor a readable zip"),
    ],
)
def test_bad_input_is_one_line_on_standard_error(tmp_path, how, message):
    path = broken(tiny_lsp(tmp_path / "lsp").path, how)
    with pytest.raises(UserError, match=message) as caught:
        open_folder(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_that_do_not_exist(tmp_path):
    with pytest.raises(UserError, match='takes "PC" or "OC"'):
        open_lsp(tiny_lsp(tmp_path / "a").path, "XY")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match='LSP Extended takes "PC"'):
        open_folder(tiny_lsp_extended(tmp_path / "b").path, "OC")


def test_the_official_parts():
    parts = splits(2000)
    assert {name: len(indices) for name, indices in parts.items()} == {
        "train": 900,
        "validation": 100,
        "test": 1000,
    }
    np.testing.assert_array_equal(parts["test"], np.arange(1000, 2000))
    training_half = np.sort(np.concatenate([parts["train"], parts["validation"]]))
    np.testing.assert_array_equal(training_half, np.arange(1000))
    # Held-out images are spread over the half; every machine holds out the same ones.
    assert 300 < parts["validation"].mean() < 700
    np.testing.assert_array_equal(splits(2000)["validation"], parts["validation"])
    assert set(splits(2000, seed=1)["validation"]) != set(parts["validation"])
    assert len(splits(2000, validation=0)["train"]) == 1000
    # Results for these seeds stay comparable as long as the images are these.
    assert parts["validation"][:6].tolist() == [0, 3, 8, 9, 19, 26]
    assert splits(2000, seed=1)["validation"][:6].tolist() == [0, 1, 2, 19, 20, 21]
    assert len(splits(2000, seed=2**63 - 1)["validation"]) == 100


def test_the_runs_seed_chooses_the_held_out_images(tmp_path):
    folder = tiny_lsp(tmp_path / "lsp", count=20).path
    config = settings(data__dir=str(folder), data__validation=3, data__canvas=16).data
    held_out = {seed: load_parts(config, seed).validation.names for seed in (0, 2**63 - 1)}
    for seed, names in held_out.items():
        indices = splits(20, validation=3, seed=seed)["validation"]
        assert names == [f"im{i + 1:04d}.jpg" for i in indices]
    assert held_out[0] != held_out[2**63 - 1]


def test_the_test_box_is_that_of_validation_and_test_images_alone(tmp_path):
    """A box of 1.3 times the joints' extent fills the canvas."""
    folder = tiny_lsp(tmp_path / "lsp", count=20).path
    loaded = {}
    for box in ("image", "joints"):
        config = settings(data__dir=str(folder), data__validation=3, data__canvas=64)
        loaded[box] = load_parts(replace(config.data, test_box=box), 0)
    for part in ("validation", "test"):
        whole, around = (getattr(loaded[box], part).poses for box in ("image", "joints"))
        spread = np.ptp(around.joints, axis=1).max(1)
        np.testing.assert_allclose(spread, 64 / 1.3, rtol=1e-3)
        assert np.abs(np.ptp(whole.joints, axis=1).max(1) - 64 / 1.3).min() > 1
    train = (loaded[box].train.poses.joints for box in ("image", "joints"))
    np.testing.assert_array_equal(*train)


def test_the_reports_parts():
    parts = splits(2000, "report")
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [1400, 300, 300]
    np.testing.assert_array_equal(
        np.concatenate([parts["train"], parts["validation"], parts["test"]]), np.arange(2000)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 2000, "validation": 1000}, "takes 0 to 999"),
        ({"count": 2000, "scheme": "random"}, '"official" or "report"'),
        ({"count": 3, "scheme": "report"}, "at least 7"),
    ],
)
def test_parts_that_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        splits(**arguments)


def test_the_check_prints_what_it_found(tmp_path, capsys, caplog):
    folder = tiny_lsp(tmp_path / "lsp")
    Image.new("RGB", (8, 8)).save(folder.path / "images" / "moving.gif")

    def change(array):
        array[:2, :, 4] = 50.0  # Every stick of the fifth image is a point.
        array[:2, 0, 1] = (300, 20)
        return array

    rewrite(folder.path, change)
    main(parser().parse_args([str(folder.path)]))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "1 files are not used" in caplog.text
    assert lines[0] == f"LSP, PC labels: {folder.path}"
    text = {line[:26].strip(): line[26:] for line in lines[1:]}
    assert text["images"] == "6, 6 of them readable"
    assert text["labelled"] == "84 (100.0 %); all 14 on 6 images"
    assert text["occluded"].startswith(f"{folder.occluded.sum()} (")
    assert text["outside the image"].startswith("1: im0002.jpg right_ankle (299.0, 19.0)")
    assert text["smallest torso"].startswith("0.0 (im0005.jpg)")
    assert text["sticks of length 0"].startswith("10: im0005.jpg lower_leg")


def test_the_check_names_unreadable_images(tmp_path, capsys):
    folder = tiny_lsp(tmp_path / "lsp").path
    (folder / "images/im0002.jpg").write_bytes(b"")
    (folder / "images/im0005.jpg").write_bytes(b"not a picture")
    with pytest.raises(UserError, match="2 of 6 images can't be used"):
        main(parser().parse_args([str(folder)]))
    printed = capsys.readouterr().out
    assert "6, 4 of them readable" in printed
    assert "im0002.jpg: can't be read" in printed
    assert "im0005.jpg: can't be read" in printed


def test_published_lsp(real_data):
    records = open_lsp(real_data / "lsp")
    assert len(records) == 2000
    assert stack(records, "labelled").all()
    np.testing.assert_allclose(records[0].joints[0], (28.74645941, 142.34544031), atol=1e-6)
    assert stack(records, "occluded").mean() == pytest.approx(0.073)
    other = open_lsp(real_data / "lsp", "OC")
    differ = (stack(records, "joints") != stack(other, "joints")).any(axis=(1, 2))
    assert differ.sum() == 756


def test_published_lsp_extended(real_data):
    records = open_lsp_extended(real_data / "lspet")
    labelled = stack(records, "labelled")
    # Nine joints carry the flag and lie at or below 0.
    assert labelled.sum() == 110810
    assert (stack(records, "joints")[labelled] > -1).all()
