import argparse
import logging
import zipfile

import numpy as np
import pytest
from PIL import Image

from classify_jax.config import ClassificationConfig
from classify_jax.data import check, fit, open_folder, prepare, splits
from classify_jax.data.load import load_parts
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from tests.classify_jax.image_folder import image_folder
from tests.classify_jax.settings import tiny_config


def names(records):
    return [record.name for record in records]


def test_a_folder_for_each_class_is_cut_class_by_class(tmp_path):
    counts = {"cat": 10, "dog": 20, ".cache": 1, "__MACOSX": 1, "__MACOSX/cat": 1}
    folder = image_folder(tmp_path / "pets", counts)
    for name in ("notes.txt", "Thumbs.db", "._01.png"):
        (folder / "cat" / name).write_text("no image")
    records = open_folder(folder)
    assert [(r.label, r.split) for r in records] == 10 * [("cat", None)] + 20 * [("dog", None)]
    parts = splits(records, validation=0.1, test=0.2)
    found = {
        split: [sum(r.label == label for r in part) for label in ("cat", "dog")]
        for split, part in parts.items()
    }
    assert found == {"train": [7, 14], "validation": [1, 2], "test": [2, 4]}
    assert sorted(n for part in parts.values() for n in names(part)) == names(records)
    assert splits(records, 0.1, 0.2) == parts
    assert splits(records, 0.1, 0.2, seed=1) != parts
    assert len(splits(records, 0.1, 0.2, seed=2**63 - 1)["test"]) == 6


def test_the_runs_seed_chooses_the_held_out_images(tmp_path):
    folder = image_folder(tmp_path / "pets", {"cat": 20, "dog": 20})
    config = tiny_config(data__dataset="folder", data__dir=str(folder))
    data = from_mapping(ClassificationConfig, config).data
    held_out = {seed: load_parts(data, seed).test.names for seed in (0, 2**63 - 1)}
    for seed, found in held_out.items():
        expected = splits(open_folder(folder), data.validation, data.test, seed=seed)["test"]
        assert found == names(expected)
    assert held_out[0] != held_out[2**63 - 1]


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_published_parts_stay_and_missing_ones_are_cut_from_train(tmp_path, name):
    counts = {"train/a": 6, "train/b": 6, f"{name}/a": 3, f"{name}/b": 1}
    records = open_folder(image_folder(tmp_path, counts))
    parts = splits(records, validation=0.5, test=0.34)
    assert [len(parts[split]) for split in ("train", "validation", "test")] == [8, 4, 4]
    assert all(n.startswith(f"{name}/") for n in names(parts["validation"]))
    assert all(n.startswith("train/") for n in names(parts["test"] + parts["train"]))


@pytest.mark.parametrize("name", ["test", "testing"])
def test_a_published_test_part_is_the_test_part(tmp_path, name):
    counts = {"train/a": 6, "train/b": 6, f"{name}/a": 2, f"{name}/b": 3}
    parts = splits(open_folder(image_folder(tmp_path, counts)), validation=0.5, test=0.34)
    assert len(parts["test"]) == 5
    assert all(n.startswith(f"{name}/") for n in names(parts["test"]))


def test_images_are_in_the_order_of_their_numbers(tmp_path):
    folder = image_folder(tmp_path, {"cat": 11, "dog": 1})
    for file in folder.rglob("*.png"):
        file.rename(file.with_stem(str(int(file.stem))))
    assert names(open_folder(folder)) == [*(f"cat/{i}.png" for i in range(11)), "dog/0.png"]


def test_a_class_may_be_called_train(tmp_path):
    records = open_folder(image_folder(tmp_path, {"bus": 2, "train": 2}))
    assert [r.label for r in records] == ["bus", "bus", "train", "train"]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, r"no class folders here; accepted: DIR/<class>"),
        ({"cat": 3}, r"1 class \(cat\); accepted: two or more"),
        ({"cat": 3, "dog": 0}, r"dog: no images of this class; accepted: .png"),
        ({"train/cat": 3, "train/dog": 0}, r"train/dog: no images of this class"),
        ({"train/cat": 3}, r"1 class \(cat\)"),
        (
            {"train/a": 3, "train/b": 3, "test/a": 1, "test/c": 1},
            r"test/c/00.png: class 'c' has no training images; accepted: a, b",
        ),
        (
            {f"{part}/{k}": 1 for part in ("train", "val", "validation") for k in "ab"},
            r"holds val and validation",
        ),
    ],
)
def test_a_bad_folder_gets_one_line(tmp_path, counts, message):
    folder = image_folder(tmp_path / "data", counts)
    folder.mkdir(exist_ok=True)
    with pytest.raises(UserError, match=message):
        open_folder(folder)


def test_no_such_folder():
    with pytest.raises(UserError, match="/nowhere: no such folder"):
        open_folder("/nowhere")


def test_a_class_of_which_nothing_is_left_to_train_on(tmp_path):
    records = open_folder(image_folder(tmp_path, {"cat": 5, "dog": 2}))
    with pytest.raises(UserError, match=r"class 'dog': 2 images leave none to train on .* least 3"):
        splits(records)


def test_images_are_resized_by_their_shorter_side_and_cut_in_the_middle():
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 200  # the middle square
    for image, size in ((pixels, 10), (pixels.swapaxes(0, 1), 40)):
        found = fit(Image.fromarray(image), size)
        assert found.shape == (size, size, 3)
        # The filter reaches beyond the square at its sides.
        assert (found[4:-4, 4:-4] == 200).all()
        assert found.min() > 100


def test_prepare_reads_labels_in_the_order_of_the_names(tmp_path):
    folder = image_folder(tmp_path, {"dog": 2, "cat": 3}, suffix=".bmp")
    found = prepare(open_folder(folder), 16)
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert found.counts.tolist() == [3, 2]
    assert found.images.shape == (5, 16, 16, 3)
    with Image.open(folder / "dog/01.bmp") as image:
        assert (found.images[4] == fit(image, 16)).all()


def test_an_unreadable_image_gets_one_line_or_is_left_out(tmp_path, caplog):
    folder = image_folder(tmp_path, {"cat": 3, "dog": 3})
    (folder / "dog/01.png").write_bytes((folder / "dog/00.png").read_bytes()[:200])
    records = open_folder(folder)
    with pytest.raises(UserError, match=r"dog/01.png: can't be read as an image"):
        prepare(records, 16)
    with caplog.at_level(logging.WARNING):
        found = prepare(records, 16, skip_unreadable=True)
    assert "1 of 6 images can't be read and are left out: dog/01.png" in caplog.text
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert found.names[3:] == ["dog/00.png", "dog/02.png"]


def test_the_check_prints_what_is_there(tmp_path, capsys, caplog):
    folder = image_folder(tmp_path, {"cat": 3, "dog": 2}, suffix=".jpg")
    Image.new("RGB", (8, 8)).save(folder / "cat" / "moving.gif")
    check.main(argparse.Namespace(path=str(folder)))
    assert "1 files are not used" in caplog.text
    printed = capsys.readouterr().out
    assert "5 in 2 classes; most 3 of cat, fewest 2 of dog" in printed
    assert "5 jpg" in printed
    assert "width 42 / 46 / 50, height 21 / 23 / 25 pixels" in printed
    (folder / "cat/00.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="1 of 5 images can't be used"):
        check.main(argparse.Namespace(path=str(folder)))
    assert "1: cat/00.jpg: can't be read" in capsys.readouterr().out


def test_rendered_parts_are_disjoint():
    settings = from_mapping(ClassificationConfig, tiny_config())
    parts = load_parts(settings.data, seed=3)
    assert parts.sizes() == {"train": 20, "validation": 8, "test": 12}
    images = np.concatenate([parts.train.images, parts.validation.images, parts.test.images])
    assert len({image.tobytes() for image in images}) == 40
    assert parts.validation.names[0] == "arrow 20"


def zipped(folder, archive, separator="/"):
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(folder.parent).as_posix().replace("/", separator)
                file.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return archive


def test_archives_and_one_more_folder_around_are_the_same_as_the_folder(tmp_path):
    folder = image_folder(
        tmp_path / "around/pets", {"train/a": 2, "train/b": 12, "val/a": 1, "val/b": 1}
    )
    expected = [(r.name, r.label, r.split, r.read()) for r in open_folder(folder)]
    places = (
        folder.parent,
        zipped(folder, tmp_path / "pets.zip"),
        zipped(folder, tmp_path / "windows.zip", "\\"),
    )
    for place in places:
        assert [(r.name, r.label, r.split, r.read()) for r in open_folder(place)] == expected
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r"cut\.zip: neither a folder nor a readable zip"):
        open_folder(tmp_path / "cut.zip")


def test_what_is_not_used_is_named_with_its_number(tmp_path, caplog):
    counts = {"train/a": 2, "train/b": 2, "dev/a": 1, "dev/b": 1, "extra/a": 3}
    folder = image_folder(tmp_path / "pets", counts | {"train/a/deeper": 2})
    (folder / "train/b/photo.heic").write_bytes(b"")
    for passed_over in ("readme.txt", ".hidden", "train/b/Thumbs.db", "train/b/._0.png"):
        (folder / passed_over).write_bytes(b"")
    records = open_folder(folder)
    assert [record.split for record in records] == 4 * ["train"] + 2 * ["validation"]
    assert caplog.messages == [
        f"{folder}: 6 files are not used: 3 .png in extra/a, 2 .png in train/a/deeper, "
        "1 .heic in train/b"
    ]


def test_a_sample_is_drawn_from_all_classes_of_sorted_images(tmp_path):
    folder = image_folder(tmp_path / "pets", {name: 20 for name in ("ant", "bee", "cat")})
    records = open_folder(folder)
    part = prepare(records, 8, ("ant", "bee", "cat"), skip_unreadable=False)
    assert part.labels.tolist() == sorted(part.labels)
    drawn = part.sample(15, seed=0)
    assert set(drawn.counts) <= {3, 4, 5, 6, 7}
    places = [part.names.index(name) for name in drawn.names]
    assert len(set(places)) == 15
    np.testing.assert_array_equal(drawn.images, part.images[places])
    np.testing.assert_array_equal(drawn.labels, part.labels[places])
    assert part.sample(15, seed=0).names == drawn.names != part.sample(15, seed=1).names
    assert part.sample(99, seed=0).names == part.names
