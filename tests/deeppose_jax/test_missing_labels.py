"""Joints that are labelled nowhere: what the check and a run say of them, and what is left to train and to score."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from scipy.io import loadmat, savemat

from deeppose_jax import metrics
from deeppose_jax.data import open_lsp, splits
from deeppose_jax.data.check import main, parser
from deeppose_jax.data.load import load_parts
from deeppose_jax.skeleton import LSP
from deeppose_jax.train import train_and_evaluate
from engine_jax.config import to_mapping
from engine_jax.errors import UserError
from engine_jax.writer import read_metrics
from tests.deeppose_jax.lsp_folder import tiny_lsp, tiny_lsp_extended
from tests.deeppose_jax.settings import settings, tiny

COUNT = 20
TRAIN, TEST = slice(0, 10), slice(10, 20)
LEGS, REST = slice(0, 6), slice(6, 14)
LEG_NAMES = "right_ankle, right_knee, right_hip, left_hip, left_knee, left_ankle"
REST_NAMES = "right_wrist, right_elbow, right_shoulder, left_shoulder, left_elbow, left_wrist, neck, head_top"
HELD_OUT = splits(COUNT, validation=3)["validation"]
FAR = -500.0  # outside of every image


@pytest.fixture
def folder(tmp_path):
    return tiny_lsp(tmp_path / "lsp", count=COUNT).path


def unlabel(folder: Path, joints=slice(None), images=slice(None), value=np.nan) -> None:
    """Gives joints of images another place, by default none."""
    path = folder / "joints.mat"
    array = loadmat(path)["joints"]
    array[:2, joints, images] = value
    savemat(path, {"joints": array})


def data(folder: Path, **changes):
    small = {"data__dir": str(folder), "data__validation": 3, "data__canvas": 16}
    return settings(**small, **changes).data


def usable(part: str, images: str, none: str = "") -> str:
    missing = f"; none labels {none}, not scored" if none else ""
    return f"the {part} part: {images} images have a labelled joint inside the image{missing}"


@pytest.mark.parametrize(
    ("joints", "images", "value", "said"),
    [
        (slice(None), TEST, np.nan, [usable("test", "0 of 10", ", ".join(LSP.joints))]),
        (slice(None), slice(12, 20), FAR, [usable("test", "2 of 10")]),
        (LEGS, TEST, 0.0, [usable("test", "10 of 10", LEG_NAMES)]),
        (REST, HELD_OUT, np.nan, [usable("validation", "3 of 3", REST_NAMES)]),
        # What isn't trained isn't scored.
        (
            LEGS,
            TRAIN,
            np.nan,
            [
                usable("train", "7 of 7", LEG_NAMES),
                usable("validation", "3 of 3", LEG_NAMES),
                usable("test", "10 of 10", LEG_NAMES),
            ],
        ),
    ],
    ids=["test", "some", "legs of test", "rest of validation", "legs of train"],
)
def test_what_is_labelled_nowhere_is_said_and_not_scored(
    joints, images, value, said, folder, caplog
):
    unlabel(folder, joints, images, value)
    parts = load_parts(data(folder), 0)
    assert caplog.messages == said
    labelled = np.ones((COUNT, 14), bool)
    labelled[np.arange(COUNT)[images], joints] = False
    for name, indices in splits(COUNT, validation=3).items():
        expected = labelled[indices]
        if name != "train":
            expected = expected & labelled[splits(COUNT, validation=3)["train"]].any(0)
        np.testing.assert_array_equal(getattr(parts, name).poses.labelled, expected)


@pytest.mark.parametrize(
    ("joints", "images", "value", "message"),
    [
        (slice(None), slice(None), np.nan, "the train part: 0 of 7 images have a labelled joint"),
        (slice(None), slice(None), FAR, "the train part: 0 of 7 images have a labelled joint"),
        (slice(None), TRAIN, 0.0, "the train part: 0 of 7 images have a labelled joint"),
        (slice(None), HELD_OUT, np.nan, "the validation part: 0 of 3 images have a labelled joint"),
    ],
    ids=["all NaN", "all outside", "training half", "validation"],
)
def test_a_run_that_could_not_train_begins_nothing(
    joints, images, value, message, folder, tmp_path
):
    unlabel(folder, joints, images, value)
    config = tiny(data__dir=str(folder), data__validation=3, data__canvas=16)
    with pytest.raises(UserError, match=message) as caught:
        train_and_evaluate(to_mapping(config), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_extended_set_is_enough_to_train_on_and_has_labels(folder, tmp_path, caplog):
    extended = tiny_lsp_extended(tmp_path / "lspet").path
    both = {"data__dataset": "lsp_and_extended", "data__extended_dir": str(extended)}
    unlabel(folder, images=splits(COUNT, validation=3)["train"])
    parts = load_parts(data(folder, **both), 0)
    assert caplog.messages == [usable("train", "6 of 13")]
    assert parts.added == 6
    array = loadmat(extended / "joints.mat")["joints"]
    array[:, 2] = 0  # the flags
    savemat(extended / "joints.mat", {"joints": array})
    with pytest.raises(UserError, match="LSP Extended: 0 of 6 images have a labelled joint"):
        load_parts(data(folder, **both), 0)


def test_a_missing_joint_may_have_no_flag_either(folder):
    array = loadmat(folder / "joints.mat")["joints"]
    array[:, 3, 4] = np.nan
    savemat(folder / "joints.mat", {"joints": array})
    labelled = np.stack([record.labelled for record in open_lsp(folder)])
    assert np.argwhere(~labelled).tolist() == [[4, 3]]
    array[:2, 3, 4] = 10
    savemat(folder / "joints.mat", {"joints": array})
    with pytest.raises(UserError, match=r"\(occluded\) is nan; accepted: 0 or 1"):
        open_lsp(folder)


def test_a_sparse_matrix_is_named_as_that(folder):
    array = loadmat(folder / "joints.mat")["joints"]
    savemat(folder / "joints.mat", {"joints": scipy.sparse.csc_matrix(array.reshape(42, COUNT))})
    with pytest.raises(
        UserError, match=r"a sparse matrix of shape \[42, 20\]; accepted: a full one"
    ):
        open_lsp(folder)


def check(folder: Path, capsys) -> tuple[dict[str, str], str]:
    """What the check prints, by the titles of its lines, and the error that it ends with."""
    with pytest.raises(UserError) as caught:
        main(parser().parse_args([str(folder)]))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()[1:]]
    return {line[:26].strip(): line[26:] for line in lines}, str(caught.value)


def test_the_check_counts_usable_images_of_both_halves(folder, capsys):
    unlabel(folder, images=slice(7, 10))
    unlabel(folder, LEGS, TEST, FAR)
    (folder / "images/im0015.jpg").write_bytes(b"")
    printed, error = check(folder, capsys)
    assert printed["usable"] == "16 of 20 images"
    assert printed["usable, training half"] == "7 of 10 images"
    assert printed["usable, test half"] == f"9 of 10 images; none labels {LEG_NAMES}"
    assert "1 of 20 images can't be used" in error


@pytest.mark.parametrize("value", [np.nan, FAR])
def test_the_check_ends_with_a_line_where_no_image_can_be_used(value, folder, capsys):
    unlabel(folder, value=value)
    printed, error = check(folder, capsys)
    assert printed["usable"] == f"0 of 20 images; none labels {', '.join(LSP.joints)}"
    assert error == (
        f"{folder}: 0 of 20 images have a labelled joint inside the image; expected some"
    )


def small_run(folder: Path, stages: int = 1):
    changes = {"data__dir": str(folder), "data__validation": 3, "data__canvas": 48}
    changes |= {"evaluation__batch_size": 8, "evaluation__bootstrap": 10, "refiner__form": "shared"}
    for stage in ("", "refiner__"):
        changes |= {f"{stage}train__epochs": 1, f"{stage}train__batch_size": 4}
        changes[f"{stage}model__head"] = "integral"
    return to_mapping(tiny(stages=stages, **changes))


def test_a_test_half_without_labels_is_null_in_the_results(folder, tmp_path, caplog):
    unlabel(folder, images=TEST)
    caplog.set_level(logging.WARNING)
    train_and_evaluate(small_run(folder), tmp_path / "run")
    results = json.loads((tmp_path / "run/results.json").read_text())
    for score in (*results["stages"], results["mean_pose"]):
        assert set(score["pcp_strict"].values()) == {None}
        assert set(score["pdj"]["0.2"].values()) == {None}
        assert score["intervals"]["pdj"]["0.2"]["total"] is None
    (row,) = [
        row
        for row in read_metrics(tmp_path / "run/metrics.jsonl", "stage_1")
        if "validation/loss" in row
    ]
    assert row["validation/pcp_loose"] >= 0
    assert not [name for name in row if name.startswith("test/")]
    # All pictures are drawn.
    assert [said for said in caplog.messages if "not drawn" in said] == []
    pictures = {path.name for path in (tmp_path / "run/plots").iterdir()}
    assert {"scores.png", "pdj.png", "stage_1_metrics.png", "poses_test.png"} <= pictures


@pytest.mark.parametrize("joints", [LEGS, REST], ids=["legs", "rest"])
def test_half_of_the_body_is_trained_and_scored_without_the_other(joints, folder, tmp_path, caplog):
    unlabel(folder, joints, TRAIN)
    # Drawn once: it takes as long as the training.
    config, pictures = small_run(folder, stages=2), joints == LEGS
    results = train_and_evaluate(config, tmp_path / "run", pictures=pictures)
    assert [said for said in caplog.messages if "not drawn" in said] == []
    labelled = np.ones((10, 14), bool)
    labelled[:, joints] = False
    # Both in pixels that start at 1.
    true = loadmat(folder / "joints.mat")["joints"][:2, :, TEST].transpose(2, 1, 0)
    named = {"stage_1": results["stages"][0], "stage_2": results["stages"][1]}
    for name, score in (named | {"mean_pose": results["mean_pose"]}).items():
        pred = loadmat(tmp_path / f"run/predictions/{name}.mat")["pred"].transpose(2, 1, 0)
        expected = metrics.score(pred, true, labelled, LSP, resamples=0)
        for kind in ("pcp_strict", "pcp_loose"):
            assert score[kind] == pytest.approx(expected[kind], nan_ok=True)
        assert score["pdj"]["0.2"]["total"] is None  # No torso is labelled.
        seen = {"upper_arm", "lower_arm", "head"} if joints == LEGS else {"upper_leg", "lower_leg"}
        parts = {"torso", "upper_leg", "lower_leg", "upper_arm", "lower_arm", "head"}
        assert {part for part in parts if score["pcp_loose"][part] is not None} == seen
