"""Data sets in other layouts than MVTec AD's, made small: they are read, trained on and predicted."""

import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from anomaly_jax.data import open_category, prepare, read_sample, splits
from anomaly_jax.data.check import main, parser
from anomaly_jax.predict import load
from anomaly_jax.train import train_and_evaluate
from engine_jax.errors import UserError
from tests.anomaly_jax.mvtec_folder import (
    FAULTS,
    fault_mask,
    picture,
    save,
    tarred,
    tiny_mvtec,
    zipped,
)
from tests.anomaly_jax.settings import tiny_config


def good_images(folder: Path, count: int = 6, start: int = 0, suffix: str = ".png") -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        save(folder / f"{i:03d}{suffix}", picture(start + i))


def tiny_loco(folder: Path) -> Path:
    """Six good training images, three for validation, two to test on, and faults with two masks each."""
    good_images(folder / "train/good")
    good_images(folder / "validation/good", 3, 50)
    good_images(folder / "test/good", 2, 100)
    for defect, fault in {"logical_anomalies": "crack", "structural_anomalies": "print"}.items():
        (folder / "test" / defect).mkdir()
        for i in range(2):
            save(folder / f"test/{defect}/{i:03d}.png", picture(200 + i, FAULTS[fault]))
            masks = folder / f"ground_truth/{defect}/{i:03d}"
            masks.mkdir(parents=True)
            halves = np.zeros((2, 40, 32), np.uint8)
            halves[0, :, :12], halves[1, :, 12:] = 230, 255
            for k, half in enumerate(halves * fault_mask(fault)):
                save(masks / f"{k:03d}.png", half)
    return folder


def tiny_visa(folder: Path) -> Path:
    """A category of six good images to train on and two to test on, with three faulty ones."""
    good_images(folder / "Data/Images/Normal", 8, suffix=".JPG")
    for part in ("Images", "Masks"):
        (folder / "Data" / part / "Anomaly").mkdir(parents=True)
    rows = [
        f"nut,{'test' if i in (2, 5) else 'train'},normal,nut/Data/Images/Normal/{i:03d}.JPG,"
        for i in range(8)
    ]
    for i in range(3):
        save(folder / f"Data/Images/Anomaly/{i:03d}.JPG", picture(200 + i, FAULTS["crack"]))
        mask = fault_mask("crack").astype(np.uint8)
        mask[8:10] *= 2  # Another kind of fault in the same image.
        save(folder / f"Data/Masks/Anomaly/{i:03d}.png", mask)
        rows.append(
            f"nut,test,anomaly,nut/Data/Images/Anomaly/{i:03d}.JPG,nut/Data/Masks/Anomaly/{i:03d}.png"
        )
    (folder.parent / "split_csv").mkdir()
    text = "\n".join(
        ["object,split,label,image,mask", *rows, "cap,train,normal,cap/Data/Images/Normal/000.JPG,"]
    )
    (folder.parent / "split_csv/1cls.csv").write_text(text)
    return folder


def trained(folder: Path, workdir: Path, pictures: bool = True, **changes) -> dict:
    config = tiny_config(train__epochs=1, data__dataset="mvtec", data__dir=str(folder), **changes)
    return train_and_evaluate(config, workdir, pictures=pictures)


def test_loco_has_its_own_validation_images_and_several_masks_an_image(tmp_path, caplog):
    folder = tiny_loco(tmp_path / "bag")
    (folder / "defects_config.json").write_text("[]")
    parts = splits(open_category(folder))
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [6, 3, 6]
    assert [record.name for record in parts["validation"]] == [
        f"validation/good/{i:03d}.png" for i in range(3)
    ]
    _, _, masks = prepare(parts["test"], 16)
    kinds = ["logical_anomalies"] * 2 + ["structural_anomalies"] * 2
    assert [record.defect for record in parts["test"]] == ["good", "good", *kinds]
    for i, fault in enumerate(["crack", "crack", "print", "print"], start=2):
        np.testing.assert_array_equal(masks[i], fault_mask(fault))
    assert "1 files are not used: 1 .json" in caplog.text
    archive = tarred(folder, tmp_path / "bag.tar.xz", "bag")
    assert [record.name for record in open_category(archive)] == [
        record.name for record in open_category(folder)
    ]
    results = trained(folder, tmp_path / "run", pictures=False)
    assert results["splits"] == {"train": 6, "validation": 3, "test": 6}
    assert results["thresholds"]["promise"]["images"] == 3
    assert [*results["defects"]] == ["logical_anomalies", "structural_anomalies"]
    assert results["not_tested"] == []
    (found,) = load(tmp_path / "run").predict([folder / "test/good/000.png"])
    assert found.anomaly_map.shape == (40, 32)


def test_masks_of_one_image_have_one_size_and_every_image_has_some(tmp_path):
    folder = tiny_loco(tmp_path / "bag")
    save(folder / "ground_truth/logical_anomalies/000/001.png", np.zeros((40, 31), np.uint8))
    faulty = next(r for r in open_category(folder) if r.defect == "logical_anomalies")
    with pytest.raises(
        UserError, match=r"000/001.png: \(31, 40\) pixels; .*000/000.png has \(32, 40\)"
    ):
        read_sample(faulty)
    shutil.rmtree(folder / "ground_truth/logical_anomalies/001")
    with pytest.raises(UserError, match=r"test/logical_anomalies/001.png: no mask"):
        open_category(folder)


def test_visa_is_split_by_its_file_and_each_value_of_a_mask_is_a_fault(tmp_path, caplog):
    folder = tiny_visa(tmp_path / "VisA/nut")
    (folder / "image_anno.csv").write_text("image,label,mask\n")
    save(folder / "Data/Images/000.png", picture(0))
    records = open_category(folder)
    parts = splits(records)
    assert [record.name for record in parts["test"]] == [
        *(f"Data/Images/Normal/{i:03d}.JPG" for i in (2, 5)),
        *(f"Data/Images/Anomaly/{i:03d}.JPG" for i in range(3)),
    ]
    assert len(parts["train"]) + len(parts["validation"]) == 6
    _, _, masks = prepare(parts["test"], 16)
    np.testing.assert_array_equal(masks[4], fault_mask("crack"))
    assert not masks[0].any()
    assert "2 files are not used: 1 .csv, 1 .png in Data/Images" in caplog.text
    for path in (
        folder.parent,
        zipped(folder.parent, tmp_path / "v.zip"),
        tarred(folder.parent, tmp_path / "v.tar.xz"),
    ):
        assert [r.name for r in open_category(path)] == [r.name for r in records]
    results = trained(folder, tmp_path / "run", pictures=False)
    assert results["defects"]["anomaly"]["pixel_images"] == 5
    assert len(load(tmp_path / "run").predict([picture(0)])) == 1


def test_visa_without_its_split_file_tests_on_each_tenth_good_image(tmp_path, caplog):
    folder = tiny_visa(tmp_path / "VisA/nut")
    shutil.rmtree(tmp_path / "VisA/split_csv")
    for i in range(8, 25):
        save(folder / f"Data/Images/Normal/{i:03d}.JPG", picture(i))
    test = splits(open_category(folder))["test"]
    assert [r.name for r in test if r.defect == "good"] == [
        f"Data/Images/Normal/{i:03d}.JPG" for i in (9, 19)
    ]
    assert "no split_csv/1cls.csv: each tenth good image is tested on, 2 of 25" in caplog.text


def lose_mask(folder: Path) -> None:
    (folder / "Data/Masks/Anomaly/001.png").unlink()


def lose_row(folder: Path) -> None:
    file = folder.parent / "split_csv/1cls.csv"
    file.write_text(re.sub(r"nut,train.*004.JPG,\n", "", file.read_text()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose_mask, "Data/Images/Anomaly/001 and Data/Masks/Anomaly/001: one is there without the other"),
        (lose_row, "Data/Images/Normal/004.JPG: no row of split_csv/1cls.csv says whether it is for train or test"),
    ],
)  # fmt: skip
def test_what_visa_lacks_is_named(tmp_path, change, message):
    folder = tiny_visa(tmp_path / "VisA/nut")
    change(folder)
    with pytest.raises(UserError, match=re.escape(message)):
        open_category(folder)


@pytest.mark.parametrize("below", ["", "train/good"])
def test_good_images_alone_train_and_calibrate(tmp_path, below, caplog):
    caplog.set_level(logging.INFO)
    good_images(tmp_path / "parts" / below, 10)
    (tmp_path / "parts/others").mkdir()
    save(tmp_path / "parts/others/1.png", picture(1))
    results = trained(tmp_path / "parts", tmp_path / "run", data__validation=0.3)
    assert "10 good images and none to test on" in caplog.text
    assert "1 files are not used: 1 .png in others" in caplog.text
    assert results["splits"] == {"train": 7, "validation": 3, "test": 0}
    assert results["not_tested"] == [
        "whether the promised rate of false alarms is kept: no good test images",
        "whether faults are found: no faulty test images",
    ]
    assert results["pixel_auroc"] is None
    printed = (tmp_path / "run/log.txt").read_text()
    assert "Not tested:\n- whether the promised rate" in printed
    assert "AUROC" not in printed
    assert "Thresholds are from 3 held-out good images" in printed
    assert (
        json.loads((tmp_path / "run/results.json").read_text())["thresholds"]["good_only"]["image"]
        > 0
    )
    bright = np.full((40, 32, 3), 255, np.uint8)
    found = load(tmp_path / "run").predict([picture(99), bright])
    assert found[1].pred_label
    assert found[1].pred_score > found[0].pred_score


def test_good_images_alone_are_all_scored_in_cross_fitting(tmp_path):
    good_images(tmp_path / "parts", 8)
    changes = {"members": 2, "thresholds__calibration": "cross_fit"}
    results = trained(tmp_path / "parts", tmp_path / "run", **changes)
    assert results["thresholds"]["promise"]["images"] == 8


def test_test_images_of_one_kind_say_what_they_cant_tell(tmp_path):
    folder = tiny_mvtec(tmp_path / "nuts")
    shutil.rmtree(folder / "test/good")
    shutil.rmtree(folder / "ground_truth/print")
    results = trained(folder, tmp_path / "run")
    assert results["not_tested"] == [
        "whether the promised rate of false alarms is kept: no good test images",
        "which pixels of print are found: no masks",
    ]


def test_check_reports_all_layouts(tmp_path, capsys):
    good_images(tmp_path / "parts", 10)
    expected = {
        tmp_path / "parts": ["train/good                10 images"],
        tiny_loco(tmp_path / "bag"): [
            "validation/good           3 images",
            "test/logical_anomalies    2 images, faulty pixels min / median / max 10.00 / 10.00 / 10.00 %",
        ],
        tiny_visa(tmp_path / "VisA/nut"): [
            "train/good                6 images",
            "test/anomaly              3 images, ",
        ],
    }
    for folder, lines in expected.items():
        main(parser().parse_args([str(folder)]))
        printed = capsys.readouterr().out
        assert all(line in printed for line in lines)
