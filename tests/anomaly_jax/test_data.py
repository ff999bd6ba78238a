"""Reading the layout of MVTec AD, its parts, and the check."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_jax.config import AnomalyConfig
from anomaly_jax.data import open_category, read_sample, splits
from anomaly_jax.data.check import main, parser
from anomaly_jax.data.load import load_parts
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from tests.anomaly_jax.mvtec_folder import fault_mask, picture, save, tarred, tiny_mvtec, zipped
from tests.anomaly_jax.settings import tiny_config

ORDER = ["good", "good", "crack", "crack", "crack", "print", "print", "print"]


def contents(records):
    return [
        (
            record.name,
            record.split,
            record.defect,
            record.read(),
            record.read_mask and record.read_mask(),
        )
        for record in records
    ]


def test_the_layout_is_read_as_it_was_written(tmp_path):
    folder = tiny_mvtec(tmp_path / "nuts")
    records = open_category(folder)
    train, test = records[:5], records[5:]
    assert [record.name for record in train] == [f"train/good/{i:03d}.png" for i in range(5)]
    assert {record.split for record in train} == {"train"}
    assert {record.split for record in test} == {"test"}
    assert [record.defect for record in test] == ORDER
    assert test[3].name == "test/crack/001.png"
    assert all(record.labelled for record in records)
    assert test[3].read() == (folder / "test/crack/001.png").read_bytes()
    sample = read_sample(test[3])
    np.testing.assert_array_equal(sample.image, picture(201, (8, 4, 16, 20)))
    np.testing.assert_array_equal(sample.mask, fault_mask("crack"))
    assert not read_sample(test[0]).mask.any()
    assert read_sample(test[0]).mask.shape == (40, 32)


@pytest.mark.parametrize("above", [".", "nuts", "all/nuts"])
def test_archives_and_a_folder_above_are_the_same_as_the_folder(tmp_path, above):
    folder = tiny_mvtec(tmp_path / "data" / "nuts")
    (folder / "train/good/._000.png").write_bytes(b"what macOS leaves in archives")
    for part in ("train/good", "test/crack"):
        (tmp_path / "data/__MACOSX" / part).mkdir(parents=True)
        (tmp_path / "data/__MACOSX" / part / "000.png").write_bytes(b"and beside them")
    plain = contents(open_category(folder))
    assert len(plain) == 13
    assert contents(open_category(tmp_path / "data")) == plain
    assert contents(open_category(zipped(folder, tmp_path / "nuts.zip", above))) == plain
    assert contents(open_category(tarred(folder, tmp_path / "nuts.tar.xz", above))) == plain


def test_names_in_zips_may_have_backslashes(tmp_path):
    folder = tiny_mvtec(tmp_path / "nuts")
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as file:
        for path in sorted(folder.rglob("*.*")):
            name = path.relative_to(tmp_path).as_posix().replace("/", "\\")
            file.writestr(zipfile.ZipInfo(name), path.read_bytes())
    assert contents(open_category(tmp_path / "windows.zip")) == contents(open_category(folder))


def test_images_are_in_the_order_of_their_numbers(tmp_path):
    folder = tiny_mvtec(tmp_path / "nuts", train=12)
    for file in folder.rglob("*.png"):
        number, _, rest = file.stem.partition("_")
        file.rename(file.with_stem("_".join(filter(None, (str(int(number)), rest)))))
    records = open_category(folder)
    assert [record.name for record in records[:12]] == [f"train/good/{i}.png" for i in range(12)]
    assert read_sample(records[-1]).mask.any()


def test_several_categories_are_listed(tmp_path):
    for name in ("bolts", "nuts"):
        tiny_mvtec(tmp_path / "data" / name)
    archives = (
        zipped(tmp_path / "data", tmp_path / "all.zip"),
        tarred(tmp_path / "data", tmp_path / "all.tar.xz"),
    )
    for path in (tmp_path / "data", *archives):
        with pytest.raises(UserError, match=r"holds 2 categories \(bolts, nuts\); expected one"):
            open_category(path)
    assert len(open_category(tmp_path / "data/nuts")) == 13


def test_what_else_is_there_does_not_matter(tmp_path):
    folder = tiny_mvtec(tmp_path / "data" / "nuts")
    plain = contents(open_category(folder))
    (tmp_path / "data/a/test/b").mkdir(parents=True)
    save(tmp_path / "data/a/test/b/000.png", picture(0))
    assert contents(open_category(tmp_path / "data")) == plain
    assert contents(open_category(tarred(tmp_path / "data", tmp_path / "data.tar"))) == plain
    tiny_mvtec(folder / "backup")
    assert contents(open_category(folder)) == plain
    with pytest.raises(UserError, match=r"holds 2 categories \(\., backup\)"):
        open_category(zipped(folder, tmp_path / "nuts.zip"))


def test_masks_may_be_named_as_their_images(tmp_path):
    folder = tiny_mvtec(tmp_path / "nuts", suffix=".jpg")
    plain = [record.read_mask and record.read_mask() for record in open_category(folder)]
    for mask in folder.glob("ground_truth/*/*"):
        mask.rename(mask.with_stem(mask.stem.removesuffix("_mask")))
    records = open_category(folder)
    assert records[-1].name == "test/print/002.jpg"
    assert [record.read_mask and record.read_mask() for record in records] == plain


def test_a_defect_without_any_masks_is_unlabelled(tmp_path, caplog):
    folder = tiny_mvtec(tmp_path / "nuts")
    assert not caplog.records
    shutil.rmtree(folder / "ground_truth/crack")
    records = open_category(folder)
    assert "test/crack has no masks in ground_truth/crack: image-level metrics only" in caplog.text
    assert [r.labelled for r in records[5:]] == [defect != "crack" for defect in ORDER]
    assert read_sample(records[7]).mask is None
    shutil.rmtree(folder / "ground_truth")
    assert [r.labelled for r in open_category(folder)[5:]] == [defect == "good" for defect in ORDER]


def remove_mask(folder: Path) -> None:
    (folder / "ground_truth/crack/001_mask.png").unlink()


def remove_image(folder: Path) -> None:
    (folder / "test/crack/001.png").unlink()


def remove_defect(folder: Path) -> None:
    shutil.rmtree(folder / "test/crack")


def remove_train(folder: Path) -> None:
    shutil.rmtree(folder / "train/good")
    (folder / "train/ok").mkdir()
    save(folder / "train/ok/000.png", picture(0))


def empty_train(folder: Path) -> None:
    for image in (folder / "train/good").iterdir():
        image.rename(image.with_suffix(".gif"))


def another_layout(folder: Path) -> None:
    for part in ("train", "test", "ground_truth"):
        shutil.rmtree(folder / part)
    (folder / "normal").mkdir()


def two_masks(folder: Path) -> None:
    shutil.copy(folder / "ground_truth/crack/001_mask.png", folder / "ground_truth/crack/001.png")


def two_images(folder: Path) -> None:
    save(folder / "test/crack/001.jpg", picture(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove_mask, "test/crack/001.png: no mask ground_truth/crack/001_mask.png; expected one "
                      "for each of 3 images or for none, found 2"),
        (remove_image, "ground_truth/crack/001_mask.png: a mask without its image; expected "
                       "test/crack/001.png"),
        (remove_defect, "ground_truth/crack/000_mask.png: a mask without its image; there are no "
                        "images in test/crack"),
        (remove_train, "no good training images; looked for train/good/*.png (or .jpg, .jpeg, "
                       ".bmp, .tif, .tiff, .webp), for Data/Images/Normal and for images right here, "
                       "found in train/: ok"),
        (empty_train, "found in train/good/: 000.gif, 001.gif, 002.gif, 003.gif, 004.gif"),
        (another_layout, "looked for train/good/*.png (or .jpg, .jpeg, .bmp, .tif, .tiff, .webp), for "
                         "Data/Images/Normal and for images right here, found license.txt, normal"),
        (two_masks, "ground_truth/crack: 001.png and 001_mask.png are both masks of 001.png"),
        (two_images, "test/crack: 001.jpg and 001.png would share a mask"),
    ],
)  # fmt: skip
def test_what_is_not_the_layout_is_named(tmp_path, change, message):
    folder = tiny_mvtec(tmp_path / "nuts")
    change(folder)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        open_category(folder)
    assert str(error.value).startswith(f"{folder}: ")


def test_paths_that_are_no_data_set(tmp_path):
    with pytest.raises(UserError, match="not found; expected a folder or archive with train/good"):
        open_category(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no good training images.*found nothing"):
        open_category(tmp_path)
    (tmp_path / "notes.txt").write_text("no archive")
    with pytest.raises(UserError, match="neither a folder nor a readable zip or tar archive"):
        open_category(tmp_path / "notes.txt")
    archive = tarred(tiny_mvtec(tmp_path / "nuts"), tmp_path / "cut.tar.xz")
    archive.write_bytes(archive.read_bytes()[:4000])
    with pytest.raises(UserError, match="neither a folder nor a readable zip or tar archive"):
        open_category(archive)


def test_train_folders_besides_good_are_named(tmp_path, caplog):
    folder = tiny_mvtec(tmp_path / "nuts")
    shutil.copytree(folder / "test/crack", folder / "train/crack")
    assert [record.defect for record in open_category(folder)].count("crack") == 3
    assert "3 files are not used: 3 .png in train/crack" in caplog.text


def test_validation_is_cut_from_the_good_training_images(tmp_path):
    records = open_category(tiny_mvtec(tmp_path / "nuts", train=20))
    parts = splits(records, 0.25, seed=3)
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [15, 5, 8]
    assert {id(r) for part in parts.values() for r in part} == {id(r) for r in records}
    assert {r.defect for name in ("train", "validation") for r in parts[name]} == {"good"}
    assert [r.name for r in parts["train"]] == sorted(r.name for r in parts["train"])
    assert parts == splits(records, 0.25, seed=3)
    assert parts["validation"] != splits(records, 0.25, seed=4)["validation"]
    assert len(splits(records, 0.001)["validation"]) == 1
    assert len(splits(records, 0.25, seed=2**63 - 1)["validation"]) == 5
    assert all(r.split == "test" for r in parts["test"])


def test_the_runs_seed_chooses_the_held_out_images(tmp_path):
    folder = tiny_mvtec(tmp_path / "nuts", train=20)
    changes = {"data__dataset": "mvtec", "data__dir": str(folder), "data__validation": 0.25}
    data = from_mapping(AnomalyConfig, tiny_config(**changes)).data
    held_out = {seed: load_parts(data, 8, seed).validation.names for seed in (0, 2**63 - 1)}
    for seed, names in held_out.items():
        expected = splits(open_category(folder), 0.25, seed=seed)["validation"]
        assert names == [record.name for record in expected]
    assert held_out[0] != held_out[2**63 - 1]


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_validation_shares_out_of_range(tmp_path, share):
    with pytest.raises(UserError, match=r"validation: got .*; expected a share above 0"):
        splits(open_category(tiny_mvtec(tmp_path / "nuts")), share)


def test_validation_leaves_something_to_train_on(tmp_path):
    records = open_category(tiny_mvtec(tmp_path / "nuts", train=1))
    with pytest.raises(UserError, match="of 1 good training images leaves none to train on"):
        splits(records)


def test_check_reports_what_is_there(tmp_path, capsys, caplog):
    folder = tiny_mvtec(tmp_path / "nuts")
    Image.new("RGB", (8, 8)).save(folder / "test" / "crack" / "moving.gif")
    save(folder / "ground_truth/print/001_mask.png", np.zeros((40, 32), np.uint8))
    half = fault_mask("crack") * np.uint8(255)
    half[0, 0] = 100
    save(folder / "ground_truth/crack/002_mask.png", half)
    main(parser().parse_args([str(folder)]))
    printed = capsys.readouterr().out
    lines = dict(re.findall(r"^  (\S.*?)  +(.*)$", printed, re.MULTILINE))
    # 8 x 16 and 16 x 4 of 40 x 32 pixels.
    assert lines == {
        "train/good": "5 images",
        "test/good": "2 images",
        "test/crack": "3 images, faulty pixels min / median / max 10.00 / 10.00 / 10.00 %",
        "test/print": "3 images, faulty pixels min / median / max 0.00 / 5.00 / 5.00 %",
        "files": "13 png",
        "min / median / max": "width 32 / 32 / 32, height 40 / 40 / 40 pixels",
        "masks not binary": "1: test/crack/002.png",
        "faulty, but mask empty": "1: test/print/001.png",
        "can't be used": "0",
    }
    assert "1 files are not used" in caplog.text


def test_check_fails_with_one_line_and_names_all_that_is_wrong(tmp_path):
    folder = tiny_mvtec(tmp_path / "nuts")
    (folder / "train/good/003.png").write_bytes(b"no image")
    save(folder / "ground_truth/print/000_mask.png", np.zeros((40, 31), np.uint8))
    shutil.rmtree(folder / "ground_truth/crack")
    done = subprocess.run(
        [sys.executable, "-m", "anomaly_jax.data", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "mask of test/print/000.png: 31x40 pixels; expected 32x40" in done.stdout
    assert "train/good/003.png: can't be read as an image" in done.stdout
    assert "test/crack                3 images, no masks: image-level metrics only" in done.stdout
    last = done.stderr.splitlines()[-1]
    assert last == f"error: {folder}: 2 of 13 images can't be used"


def test_transistor(real_data):
    records = open_category(real_data / "mvtec/transistor")
    counts = {
        key: sum((r.split, r.defect) == key for r in records)
        for key in {(r.split, r.defect) for r in records}
    }
    assert counts == {
        ("train", "good"): 213,
        ("test", "good"): 60,
        **{("test", d): 10 for d in ("bent_lead", "cut_lead", "damaged_case", "misplaced")},
    }
    assert all(record.labelled for record in records)
