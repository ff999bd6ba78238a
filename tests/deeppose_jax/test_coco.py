"""The reader of COCO's key points."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeppose_jax import COCO, FLIC
from deeppose_jax.data import check, open_coco
from deeppose_jax.data.canvas import prepare
from deeppose_jax.data.load import load_parts
from deeppose_jax.data_config import CocoConfig
from deeppose_jax.skeleton_file import to_json
from engine_jax import cli
from engine_jax.errors import UserError
from tests.deeppose_jax.cascades import demo_settings
from tests.deeppose_jax.coco_files import annotation, coco_set, dataset


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Twelve people in six pictures, and four in two."""
    folder = tmp_path_factory.mktemp("coco")
    return coco_set(folder, "train", 12), coco_set(folder, "test", 4, start=12)


def small_set(folder: Path) -> tuple[Path, dict]:
    """A grey picture of 60 x 40 pixels with two people; the file's object is to be changed and written."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (60, 40), (90, 90, 90)).save(folder / "a.png")
    held = dataset(FLIC)
    held["images"] = [{"id": 7, "file_name": "a.png"}]
    draw = np.random.default_rng(0)
    people = [draw.uniform(5, [50, 30], (11, 2)).round() for _ in range(2)]
    labelled = np.ones(11, bool)
    held["annotations"] = [annotation(i + 1, 7, people[i], labelled) for i in range(2)]
    return folder / "set.json", held


def written(path: Path, held: dict) -> Path:
    path.write_text(json.dumps(held))
    return path


def test_boxes_and_joints_refer_to_the_image_as_a_viewer_shows_it(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # clockwise by a quarter
    found = []
    for name, image, exif in (("a", pixels, None), ("b", np.rot90(pixels), turned)):
        path, held = small_set(tmp_path / name)
        Image.fromarray(np.ascontiguousarray(image)).save(path.with_name("a.png"), exif=exif)
        found.append(prepare(open_coco(written(path, held)).records, 48)[0])
    for field in ("canvases", "joints", "boxes"):
        np.testing.assert_array_equal(*(getattr(poses, field) for poses in found))


def test_categories_give_the_skeleton_and_boxes_the_people(rendered):
    train, _ = rendered
    found = open_coco(train)
    assert to_json(found.skeleton) == to_json(COCO)
    assert (found.category, found.images, found.left_out) == ("person", 6, {})
    assert [record.name for record in found.records[:3]] == [
        "train_000.png (1)",
        "train_000.png (2)",
        "train_001.png (3)",
    ]
    stored = json.loads(train.read_text())["annotations"]
    assert len(found.people) == len(found.records) == len(stored) == 12
    for record, entry in zip(found.records, stored, strict=True):
        points = np.reshape(entry["keypoints"], (17, 3))
        np.testing.assert_array_equal(record.labelled, points[:, 2] > 0)
        np.testing.assert_array_equal(record.joints, points[:, :2])
        x, y, width, height = entry["bbox"]
        # The file counts from the corner of the first pixel, boxes here from its centre.
        assert record.box == (x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5)
    np.testing.assert_array_equal(found.people.images, np.repeat(np.arange(100, 106), 2))


def test_who_cannot_be_trained_on_is_left_out_and_counted(tmp_path):
    path, held = small_set(tmp_path)
    first, second = held["annotations"]
    nobody, crowd, flat = (json.loads(json.dumps(second)) for _ in range(3))
    nobody |= {"id": 3, "keypoints": [0] * 33, "num_keypoints": 0}
    crowd |= {"id": 4, "iscrowd": 1}
    del crowd["keypoints"]
    flat |= {"id": 5, "bbox": [3, 3, 0, 10]}
    first["keypoints"][2] = 1  # not visible
    dog = {"id": 6, "image_id": 7, "category_id": 2, "bbox": [0, 0, 5, 5]}
    held["categories"].append({"id": 2, "name": "dog"})
    held["annotations"] = [nobody, first, crowd, dog, flat, second]
    found = open_coco(written(path, held))
    assert [record.name for record in found.records] == ["a.png (1)", "a.png (2)"]
    assert found.records[0].occluded.tolist() == [True] + [False] * 10
    assert found.left_out == {
        "crowds": 1, "people without joints": 1, "boxes without a size": 1,
    }  # fmt: skip
    # Two who count and aren't found, if they aren't: one of the two records, and who has no box.
    assert found.people.ignored.tolist() == [False, False, True, True, False]
    assert found.people.crowd.tolist() == [False, False, False, True, False]
    del second["area"]
    held["annotations"] = [second]
    (area,) = open_coco(written(path, held)).people.areas
    assert area == pytest.approx(second["bbox"][2] * second["bbox"][3])


def test_pictures_are_found_in_folders_below(rendered, tmp_path):
    train, _ = rendered
    moved = tmp_path / "labels" / "people.json"
    moved.parent.mkdir()
    moved.write_bytes(train.read_bytes())
    with pytest.raises(UserError, match=r"6 images are neither in .*labels nor one folder below"):
        open_coco(moved)
    for images in (train.parent, train.parent / "train"):
        assert len(open_coco(moved, images).records) == 12
    for name in ("a", "b"):
        shutil.copytree(train.parent / "train", tmp_path / "twice" / name)
    with pytest.raises(UserError, match=r"\.png is in .* and "):
        open_coco(moved, tmp_path / "twice")
    with pytest.raises(UserError, match="no such folder"):
        open_coco(moved, tmp_path / "nowhere")


def changed(name, value, at=0):
    def change(held):
        group, key = name.split(".")
        entry = held[group][at]
        if value is None:
            del entry[key]
        else:
            entry[key] = value

    return change


def joints_of(*names):
    return lambda held: held["categories"][0].update(keypoints=list(names), skeleton=[])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda held: held.pop("images"), "images: missing, or not a list"),
        (lambda held: held.update(annotations=[3]), "annotations: missing, or not a list"),
        (changed("annotations.id", "x"), "id of .*: 'x'; accepted: int"),
        (changed("annotations.image_id", 8), "annotation 1: image_id 8 is not among the images"),
        (changed("annotations.bbox", None), "annotation 1: bbox: None; accepted: 4 numbers"),
        (changed("annotations.bbox", [1, 2, 3]), "annotation 1: bbox: 3 values"),
        (changed("annotations.bbox", [1, 2, 3, 10**400]), "annotation 1: bbox: 4 values"),
        (changed("annotations.id", 2**63), "id of .*: 9223372036854775808; accepted: int"),
        (changed("annotations.bbox", [1, 2, 3, float("nan")]), "annotation 1: bbox: 4 values"),
        (changed("annotations.keypoints", [1, 2, 2]), "annotation 1: keypoints: 3 values; .* 33"),
        (changed("annotations.keypoints", [1, 2, 3] * 11), "annotation 1: visibilities are"),
        (changed("annotations.keypoints", None), "annotation 1: keypoints: None"),
        (changed("annotations.area", -1), "annotation 1: area is -1"),
        (changed("annotations.iscrowd", "yes"), "annotation 1: iscrowd is 'yes'"),
        (changed("categories.keypoints", []), "no single one with keypoints, found none"),
        (joints_of("a", "a"), "'a' stands twice"),
        (joints_of("left_a", "b"), "'left_a' has no partner"),
        (changed("categories.keypoints", "nose"), "accepted: a list of names"),
        (changed("categories.skeleton", [[0, 1]]), r"\[0, 1\]; accepted: .*counted from 1 to 11"),
        (changed("categories.skeleton", [[4, 4]]), r"limbs: \(3, 3"),
        (changed("categories.skeleton", [4]), "skeleton: accepted: pairs"),
        (changed("categories.name", None), "name of .*: missing"),
        (changed("images.file_name", "../a.png"), "accepted: a path within"),
        (changed("images.file_name", "b.png"), "1 images are neither"),
        (lambda held: held["images"].append(held["images"][0]), "two have the id 7"),
    ],
)  # fmt: skip
def test_broken_files_are_one_line(change, said, tmp_path):
    path, held = small_set(tmp_path)
    assert len(open_coco(written(path, held)).records) == 2
    change(held)
    with pytest.raises(UserError, match=f"^{path}: .*{said}") as error:
        open_coco(written(path, held))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"), [("{", "not JSON"), ("[]", "holds list"), ("[" * 100_000, "not JSON")]
)
def test_what_is_no_object_is_one_line(text, said, tmp_path):
    path = tmp_path / "set.json"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        open_coco(path)
    with pytest.raises(UserError, match="can't be read"):
        open_coco(tmp_path)


def test_the_category_is_the_one_named(tmp_path):
    path, held = small_set(tmp_path)
    hand = {"id": 2, "name": "hand", "keypoints": ["thumb", "port", "starboard"]}
    held["categories"].append(hand)
    held["annotations"][1] |= {"category_id": 2, "keypoints": [1, 2, 2] * 3}
    written(path, held)
    assert open_coco(path).skeleton.joints == FLIC.joints
    found = open_coco(path, category="hand", pairs=(("port", "starboard"),))
    assert (found.skeleton.joints, found.skeleton.swap) == (tuple(hand["keypoints"]), (0, 2, 1))
    assert [record.name for record in found.records] == ["a.png (2)"]
    with pytest.raises(UserError, match="named 'cat' with keypoints, found person, hand"):
        open_coco(path, category="cat")
    held["categories"][0]["name"] = "people"
    with pytest.raises(UserError, match="found people, hand"):
        open_coco(written(path, held))


def data_config(train="", **changes):
    data = demo_settings("shared").data
    coco = CocoConfig(str(train), test=str(changes.pop("test", "")))
    return replace(data, dataset="coco", dir="", coco=coco, **changes)


def test_parts_hold_every_person_in_a_box_of_their_own(rendered):
    train, test = rendered
    config = data_config(train, test=test)
    parts = load_parts(replace(config, validation=2), seed=0)
    assert parts.sizes() == {"train": 8, "validation": 4, "test": 4}
    assert to_json(parts.skeleton) == to_json(COCO)
    # Both people of a picture are on the same side.
    assert not set(parts.train.people.images) & set(parts.validation.people.images)
    found = open_coco(test)
    for record, box, maps, joints in zip(
        found.records, parts.test.poses.boxes, parts.test.poses.to_image, parts.test.poses.joints,
        strict=True,
    ):  # fmt: skip
        in_image = maps[:, :2] @ np.reshape(box, (2, 2)).T + maps[:, 2:]
        x0, y0, x1, y1 = record.box
        dx, dy = (x1 - x0) / 8, (y1 - y0) / 8  # enlarged by 1.25, within the picture
        expected = (
            [max(x0 - dx, -0.5), max(y0 - dy, -0.5)],
            [min(x1 + dx, 95.5), min(y1 + dy, 47.5)],
        )
        np.testing.assert_allclose(in_image.T, expected, atol=1e-4)
        back = maps[:, :2] @ joints.T + maps[:, 2:]
        known = record.labelled
        np.testing.assert_allclose(back.T[known], record.joints[known], atol=1e-3)
    np.testing.assert_array_equal(parts.test.people.joints, found.people.joints)


def test_what_a_run_cannot_use_is_named_by_its_field(rendered, tmp_path):
    train, test = rendered
    path, held = small_set(tmp_path / "flic")
    flic = str(written(path, held))
    empty, held = small_set(tmp_path / "empty")
    held["annotations"] = []
    nobody = str(written(empty, held))
    held["annotations"] = [
        {**annotation(1, 7, np.full((11, 2), 9.0), np.ones(11, bool)), "bbox": [900, 9, 5, 5]}
    ]
    outside = str(written(tmp_path / "empty" / "outside.json", held))
    for config, said in (
        (data_config(), r"config.data.coco.train: ''"),
        (data_config(train), r"config.data.coco.test: ''"),
        (data_config(train, test=flic), "config.data.coco.test: its joints are left_shoulder"),
        (data_config(train, test=test, validation=6), "validation: 6 of 6 images; accepted: less"),
        (data_config(train, test=nobody), "none of its 0 people"),
        (data_config(flic, test=outside, validation=1), "validation: 1 of 1 images"),
        (
            replace(data_config(flic, test=outside), coco=CocoConfig(flic, flic, outside)),
            r"a.png \(1\): box .* is outside of its image, 60x40 pixels",
        ),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            load_parts(config, seed=0)


def test_unreadable_pictures_leave_their_people_out(tmp_path):
    path, held = small_set(tmp_path)
    held["images"].append({"id": 3, "file_name": "b.png"})
    held["annotations"][0]["image_id"] = 3
    (tmp_path / "b.png").write_bytes(b"no picture")
    path = str(written(path, held))
    config = replace(data_config(path), coco=CocoConfig(path, path, path))
    with pytest.raises(UserError, match=r"b.png \(1\): can't be read"):
        load_parts(config, seed=0)
    parts = load_parts(replace(config, skip_unreadable=True), seed=0)
    assert parts.test.names == ["a.png (2)"]
    assert parts.test.people.images.tolist() == [7]


def test_the_checker_reports_on_a_file(rendered, tmp_path, monkeypatch, capsys):
    train, _ = rendered
    arguments = [str(train), "--images", str(train.parent / "train")]
    monkeypatch.setattr(sys, "argv", ["data", *arguments])
    cli.run(check.main, check.parser())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"COCO key points: {train}"
    table = {line[2:28].strip(): line[28:] for line in lines[1:]}
    assert table["pictures"] == "6 listed"
    assert table["left out"] == "0"
    assert table["left / right"].startswith("8: left_eye / right_eye, ")
    assert table["files"] == "12 png"
    assert re.match(r"\d+\.\d \(train_00\d.png \(\d+\)\), ", table["smallest torso"])
    path, held = small_set(tmp_path)
    held["categories"][0]["keypoints"] = [f"point {i}" for i in range(11)]
    Path(tmp_path / "a.png").write_bytes(b"no picture")
    monkeypatch.setattr(sys, "argv", ["data", str(written(path, held))])
    with pytest.raises(SystemExit) as stopped:
        cli.run(check.main, check.parser())
    assert stopped.value.code == 1
    said = capsys.readouterr()
    assert "smallest torso            the skeleton has none" in said.out
    assert "2 of 2 images can't be used" in said.err
