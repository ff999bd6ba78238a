"""From encoded images of any kind to arrays."""

import io
import re

import jax
import numpy as np
import pytest
from PIL import Image

from anomaly_jax.data import fit, fit_mask, open_category, prepare, read_sample
from anomaly_jax.data.pixels import decode_mask
from engine_jax.errors import UserError
from tests.anomaly_jax.mvtec_folder import FAULTS, fault_mask, picture, save, tiny_mvtec


def encoded(image, kind="PNG", **options) -> bytes:
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, kind, **options)
    return out.getvalue()


def test_prepare_gives_images_masks_and_their_own_sizes(tmp_path):
    folder = tiny_mvtec(tmp_path / "nuts")
    save(folder / "test/good/000.png", np.full((20, 60, 3), 77, np.uint8))
    records = [record for record in open_category(folder) if record.split == "test"]
    data, names, _ = prepare(records, 16)
    assert names == [record.name for record in records]
    assert len(data) == 8
    assert data.images.shape == (8, 16, 16, 3)
    assert data.images.dtype == np.uint8
    assert data.masks.shape == (8, 16, 16)
    assert data.masks.dtype == bool
    assert data.defect_names == ("good", *FAULTS)
    assert data.defects.tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert data.faulty.tolist() == [False, False] + 6 * [True]
    assert data.labelled.all()
    assert data.sizes.tolist() == [[20, 60]] + 7 * [[40, 32]]
    assert (data.images[0] == 77).all()
    assert not data.masks[:2].any()
    # [40, 32] shrinks by 2.5 and 2: the crack's rows 8 to 16 become 3.2 to 6.4, so that row 3 is
    # covered by more than half and row 6 by less; its columns 4 to 20 become 2 to 10.
    expected = np.zeros((16, 16), bool)
    expected[3:6, 2:10] = True
    np.testing.assert_array_equal(data.masks[2], expected)
    assert data.images[3][4, 5].min() >= 245
    assert data.images[3][12, 12].max() < 100


def test_an_image_set_is_a_pytree_whose_names_are_static(tmp_path):
    data, *_ = prepare(open_category(tiny_mvtec(tmp_path / "nuts")), 8)
    assert len(jax.tree.leaves(data)) == 5
    on_device = jax.device_put(data)
    assert jax.jit(lambda d: d.faulty.sum())(on_device) == 6
    assert on_device.defect_names == data.defect_names


def test_training_images_have_empty_masks(tmp_path):
    records = open_category(tiny_mvtec(tmp_path / "nuts"))[:5]
    data, *_ = prepare(records, 8)
    assert data.defect_names == ("good",)
    assert not data.masks.any()
    assert data.labelled.all()


def test_unlabelled_images_are_marked(tmp_path):
    folder = tiny_mvtec(tmp_path / "nuts")
    for mask in (folder / "ground_truth/print").iterdir():
        mask.unlink()
    data, *_ = prepare(open_category(folder)[5:], 8)
    assert data.labelled.tolist() == 5 * [True] + 3 * [False]
    assert not data.masks[5:].any()
    assert data.faulty[5:].all()


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".tif", ".TIFF", ".webp"])
def test_other_formats(tmp_path, suffix):
    records = open_category(tiny_mvtec(tmp_path / "nuts", suffix=suffix))
    assert records[0].name == f"train/good/000{suffix}"
    data, *_ = prepare(records, 32)
    expected = fit(Image.fromarray(picture(202, FAULTS["print"])), 32).astype(int)
    error = np.abs(data.images[-1].astype(int) - expected)
    assert error.mean() < (9 if suffix in (".jpg", ".webp") else 1e-9)  # another image: 12


def test_fit_is_anti_aliased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    found = fit(Image.fromarray(stripes), 8)
    assert np.abs(found[:, 1:-1].astype(int) - 100).max() <= 1
    np.testing.assert_array_equal(fit(Image.fromarray(stripes), 64), stripes)


def test_masks_keep_their_area_and_no_fault_is_lost():
    mask = np.zeros((12, 12), bool)
    mask[0:6, 3:] = True  # Half of the left pixel's columns.
    np.testing.assert_array_equal(fit_mask(mask, 2), [[1, 1], [0, 0]])
    mask = np.zeros((12, 12), bool)
    mask[7, 1] = mask[10:12, 6] = True
    small = fit_mask(mask, 3)
    assert np.argwhere(small).tolist() == [[2, 1]]
    assert not fit_mask(np.zeros((12, 12), bool), 3).any()
    np.testing.assert_array_equal(fit_mask(mask, 12), mask)
    np.testing.assert_array_equal(fit_mask(mask, 24), mask.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("values", [(0, 255), (0, 1), (0, 77), (0, 65535)])
def test_binary_masks_of_any_value(values):
    mask = fault_mask("print")
    kind = np.uint16 if max(values) > 255 else np.uint8
    found, binary = decode_mask(encoded(np.where(mask, *values[::-1]).astype(kind)), "mask")
    assert binary
    assert found.dtype == bool
    np.testing.assert_array_equal(found, mask)


def test_binary_masks_of_any_mode():
    mask = fault_mask("print")
    red = mask[..., None] * np.array([255, 0, 0], np.uint8)
    opaque = np.concatenate([red, np.full((*mask.shape, 1), 255, np.uint8)], axis=2)
    deep = [mask.astype(kind) for kind in (np.int32, np.float32)]
    for pixels in (Image.fromarray(mask), red, opaque, *deep, 255 * deep[1]):
        found, binary = decode_mask(encoded(pixels, "TIFF"), "mask")
        assert binary
        np.testing.assert_array_equal(found, mask)


def test_masks_that_are_not_binary_are_thresholded_once_said(tmp_path, caplog):
    folder = tiny_mvtec(tmp_path / "nuts")
    values = np.zeros((40, 32), np.uint8)
    values[:10], values[10:20], values[20:30] = 127, 128, 255
    for i in range(2):
        save(folder / f"ground_truth/crack/{i:03d}_mask.png", values)
    records = open_category(folder)
    data, *_ = prepare(records, 32)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "2 of 13 images have a mask that is not binary: thresholded at half: "
        "test/crack/000.png, test/crack/001.png"
    ]
    sample = read_sample(records[7])
    assert not sample.binary
    assert sample.mask[10:30].all()
    assert sample.mask.sum() == 20 * 32
    assert data.masks[7].mean() == 0.5
    wide = values.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_mask(encoded(wide), "mask")[0], sample.mask)
    with pytest.raises(UserError, match="mask: values 0 to 100 of 255 or 65535, none at half"):
        decode_mask(encoded(np.array([[0, 50, 100]], np.int32), "TIFF"), "mask")
    with pytest.raises(UserError, match="mask: values 0 to 2 of 255, none at half or above"):
        decode_mask(encoded(np.array([[0, 1, 2]], np.uint8)), "mask")


def test_a_mask_of_another_size_or_in_a_good_image(tmp_path):
    folder = tiny_mvtec(tmp_path / "nuts")
    save(folder / "ground_truth/crack/001_mask.png", np.zeros((20, 16), np.uint8))
    message = "mask of test/crack/001.png: 16x20 pixels; expected 32x40, as the image"
    with pytest.raises(UserError, match=re.escape(message)):
        prepare(open_category(folder), 8, skip_unreadable=True)
    folder = tiny_mvtec(tmp_path / "bolts")
    (folder / "ground_truth/good").mkdir()
    for i in range(2):
        save(folder / f"ground_truth/good/{i:03d}_mask.png", np.zeros((40, 32), np.uint8))
    assert not prepare(open_category(folder), 8)[0].masks[5:7].any()
    save(folder / "ground_truth/good/001_mask.png", np.eye(40, 32, dtype=np.uint8))
    with pytest.raises(UserError, match=r"mask of test/good/001\.png: marks 32 faulty pixels in a"):
        prepare(open_category(folder), 8)


def test_images_and_masks_are_turned_by_their_exif_orientation(tmp_path):
    folder = tiny_mvtec(tmp_path / "nuts")
    expected = read_sample(open_category(folder)[8])
    image, mask = folder / "test/crack/001.png", folder / "ground_truth/crack/001_mask.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # Shown turned to the right: stored turned to the left.

    def turn(path):
        with Image.open(path) as opened:
            turned = opened.transpose(Image.Transpose.ROTATE_90)
        turned.save(path, exif=exif)

    turn(image)
    turn(mask)
    sample = read_sample(open_category(folder)[8])
    np.testing.assert_array_equal(sample.image, expected.image)
    np.testing.assert_array_equal(sample.mask, expected.mask)
    with Image.open(mask) as opened:
        opened.copy().save(mask, exif=b"")
    message = (
        "40x32 pixels; expected 32x40, as the image; both are turned as their EXIF orientation"
    )
    with pytest.raises(UserError, match=message):
        read_sample(open_category(folder)[8])


def test_unreadable_images_are_named_or_left_out(tmp_path, caplog):
    folder = tiny_mvtec(tmp_path / "nuts")
    image = folder / "test/crack/001.png"
    image.write_bytes(image.read_bytes()[:300])
    (folder / "ground_truth/print/002_mask.png").write_bytes(b"")
    records = open_category(folder)
    with pytest.raises(UserError, match=r"^test/crack/001\.png: can't be .* 1 more of 13 images\)"):
        prepare(records, 8)
    data, names, _ = prepare(records, 8, skip_unreadable=True)
    assert "2 of 13 images can't be read and are left out" in caplog.text
    assert "test/crack/001.png, test/print/002.png" in caplog.text
    kept = [r for r in records if r.name not in ("test/crack/001.png", "test/print/002.png")]
    assert names == [record.name for record in kept]
    expected, *_ = prepare(kept, 8)
    jax.tree.map(np.testing.assert_array_equal, data, expected)
    image.unlink()  # Between opening and reading.
    with pytest.raises(UserError, match=r"test/crack/001\.png: can't be read \(.*No such file"):
        prepare(records, 8)
    with pytest.raises(UserError, match="can't be read"):
        prepare([records[8]], 8, skip_unreadable=True)


def test_nothing_to_prepare(tmp_path):
    with pytest.raises(UserError, match="no images were given"):
        prepare([], 8)
    with pytest.raises(UserError, match="size: got 0; expected a side of at least 1 pixel"):
        prepare(open_category(tiny_mvtec(tmp_path / "nuts")), 0)


@pytest.mark.parametrize(
    ("category", "train", "defects"),
    [
        ("transistor", 213, ("good", "bent_lead", "cut_lead", "damaged_case", "misplaced")),
        ("hazelnut_toy", 28, ("good", "colour")),
    ],
)
def test_real_categories(real_data, category, train, defects):
    records = open_category(real_data / "mvtec" / category)
    assert sum(record.split == "train" for record in records) == train
    test = [record for record in records if record.split == "test"]
    data, *_ = prepare(test, 64)
    assert data.defect_names == defects
    np.testing.assert_array_equal(data.masks.any(axis=(1, 2)), data.faulty)
    # Faults keep their area, in the mean over a category.
    own = [read_sample(record).mask.mean() for record in test]
    np.testing.assert_allclose(data.masks.mean(), np.mean(own), rtol=0.02)
