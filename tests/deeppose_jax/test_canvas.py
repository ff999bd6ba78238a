"""Images on canvases: where pixels and joints land, and which images can be read."""

import io
import logging

import numpy as np
import pytest
from PIL import Image

from deeppose_jax.data import Record, joint_box, open_lsp, open_lsp_extended, place, prepare
from engine_jax.errors import UserError
from tests.deeppose_jax.lsp_folder import tiny_lsp, tiny_lsp_extended


def png(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def dot(size: tuple[int, int], centre: tuple[float, float], radius: float) -> Image.Image:
    """A white Gaussian spot on black, around a point that may lie between pixels."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    square = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    values = (255 * np.exp(-square / (2 * radius**2))).round().astype(np.uint8)
    return Image.fromarray(np.repeat(values[..., None], 3, axis=2))


def spot(canvas: np.ndarray) -> np.ndarray:
    """(x, y) of the bright spot's centre of mass on [c, c, 3]."""
    weight = np.maximum(canvas[..., 0].astype(float) - 30, 0)
    y, x = np.mgrid[: len(canvas), : len(canvas)]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def record(name: str, data: bytes, joints=None) -> Record:
    joints = np.full((14, 2), 5.0) if joints is None else np.asarray(joints, float)
    return Record(name, lambda: data, joints, np.ones(len(joints), bool))


@pytest.mark.parametrize("canvas", [31, 96, 256])  # shrinks, shrinks a little, enlarges
@pytest.mark.parametrize("size", [(150, 90), (91, 200)])
def test_a_spot_lands_where_the_map_says(size, canvas):
    centre = (0.3 * size[0], 0.7 * size[1])
    poses, _ = prepare([record("a", png(dot(size, centre, 4.0)), [centre])], canvas)
    scale = max(size) / canvas
    by_hand = (np.array(centre) - (np.array(size) - 1) / 2) / scale + (canvas - 1) / 2
    np.testing.assert_allclose(spot(poses.canvases[0]), by_hand, atol=0.1)
    np.testing.assert_allclose(poses.joints[0, 0], by_hand, atol=1e-4)
    back = poses.to_image[0] @ [*poses.joints[0, 0], 1]
    np.testing.assert_allclose(back, centre, atol=1e-3)


def test_a_spot_lands_where_the_map_says_in_a_joint_box():
    joints = [(200.25, 80.5), (180, 120), (240, 100)]
    image = dot((400, 300), joints[0], 3.0)
    for canvas in (40, 160):
        poses, _ = prepare([record("a", png(image), joints)], canvas, "joints", 1.5)
        # Joints span 60 x 40 around (210, 100.25); 1.5 adds 30 to both sides.
        scale = 90 / canvas
        by_hand = (np.array(joints[0]) - (210, 100.25)) / scale + (canvas - 1) / 2
        np.testing.assert_allclose(spot(poses.canvases[0]), by_hand, atol=0.1)
        np.testing.assert_allclose(poses.joints[0, 0], by_hand, atol=1e-4)
        middle = (canvas - 1) / 2
        np.testing.assert_allclose(
            poses.boxes[0],
            (-0.5, middle - 69.5 / 2 / scale, canvas - 0.5, middle + 69.5 / 2 / scale),
            rtol=1e-6,
        )


def test_shrinking_is_anti_aliased():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    canvas, _ = place(Image.fromarray(stripes), (-0.5, -0.5, 399.5, 399.5), 50)
    assert canvas.min() > 110
    assert canvas.max() < 145


def test_an_image_of_the_canvas_size_stays_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    canvas, to_image = place(Image.fromarray(pixels), (-0.5, -0.5, 31.5, 31.5), 32)
    np.testing.assert_array_equal(canvas, pixels)
    np.testing.assert_array_equal(to_image, [[1, 0, 0], [0, 1, 0]])


def test_beyond_the_region_the_image_goes_on_and_beyond_the_image_is_its_mean():
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = (200, 100, 40)
    # 20 wide and 40 high around x = 30: the canvas shows columns 10 to 49 and every row.
    canvas, _ = place(Image.fromarray(pixels), (19.5, -0.5, 39.5, 39.5), 40)
    np.testing.assert_array_equal(canvas, pixels[:, 10:50])
    # The whole image fills the middle 20 rows of a 40 px canvas.
    canvas, _ = place(Image.fromarray(pixels), (-0.5, -0.5, 79.5, 39.5), 40)
    np.testing.assert_array_equal(canvas[:8], np.full((8, 40, 3), (100, 50, 20)))
    np.testing.assert_array_equal(canvas[-8:], canvas[:8])
    np.testing.assert_array_equal(canvas[12:28, 2:18], np.full((16, 16, 3), (200, 100, 40)))


def test_the_whole_image_is_the_box(tmp_path):
    folder = tiny_lsp(tmp_path / "lsp")
    records = open_lsp(folder.path)
    poses, names = prepare(records, 64)
    assert names == [record.name for record in records]
    assert poses.canvases.shape == (6, 64, 64, 3)
    assert [poses.canvases.dtype, poses.joints.dtype] == [np.uint8, np.float32]
    for i, record in enumerate(records):
        w, h = Image.open(io.BytesIO(record.read())).size
        half = np.array([w, h]) / max(w, h) * 32
        np.testing.assert_allclose(poses.boxes[i], [*(31.5 - half), *(31.5 + half)], rtol=1e-6)
        ones = np.concatenate([poses.joints[i], np.ones((14, 1))], axis=1)
        np.testing.assert_allclose(ones @ poses.to_image[i].T, folder.joints[i], atol=1e-4)


def test_unlabelled_joints_are_masked_and_shape_no_box(tmp_path):
    folder = tiny_lsp_extended(tmp_path / "lspet")
    poses, _ = prepare(open_lsp_extended(folder.path), 64, "joints", 1.3)
    np.testing.assert_array_equal(poses.labelled, folder.labelled)
    assert (poses.joints[~poses.labelled] == 0).all()
    for i, labelled in enumerate(folder.labelled):
        span = np.ptp(folder.joints[i, labelled], axis=0).max()
        np.testing.assert_allclose(poses.to_image[i, 0, 0], 1.3 * span / 64, rtol=1e-6)


def test_a_joint_far_outside_the_image_is_masked():
    joints = np.full((14, 2), 20.0)
    joints[:4] = [(-1.4, 3), (50.4, 49), (-1.6, 3), (90, 20)]
    poses, _ = prepare([record("a", png(Image.new("RGB", (50, 50))), joints)], 50)
    assert np.flatnonzero(~poses.labelled[0]).tolist() == [2, 3]


def test_a_single_labelled_joint_leaves_the_whole_image():
    one = record("a", png(Image.new("RGB", (50, 30))))
    poses, _ = prepare([one], 100, "joints")
    np.testing.assert_allclose(poses.boxes[0], (-0.5, 19.5, 99.5, 79.5))


def test_the_joint_box_has_equal_margins():
    box = joint_box(np.array([[10.0, 20], [30, 120]]), 1.3)
    np.testing.assert_allclose(box, (10 - 15, 20 - 15, 30 + 15, 120 + 15))


def _jpeg_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(
        buffer, "JPEG"
    )
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"no image", _jpeg_bytes()[:400], png(Image.new("RGB", (40, 40), "red"))[:60]],
    ids=["empty", "text", "cut jpeg", "cut png"],
)
def test_an_unreadable_image_is_named(data, caplog):
    good = record("good.jpg", _jpeg_bytes())
    with pytest.raises(UserError, match=r"bad\.jpg: can't be read"):
        prepare([good, record("bad.jpg", data)], 16)
    with caplog.at_level(logging.WARNING):
        poses, names = prepare(
            [record("bad.jpg", data), good, record("worse.jpg", data)], 16, skip_unreadable=True
        )
    assert names == ["good.jpg"]
    assert poses.canvases.shape == (1, 16, 16, 3)
    np.testing.assert_array_equal(poses.canvases, prepare([good], 16)[0].canvases)
    assert "2 of 3 images" in caplog.text
    assert "bad.jpg, worse.jpg" in caplog.text
    with pytest.raises(UserError, match=r"bad\.jpg"):
        prepare([record("bad.jpg", data)], 16, skip_unreadable=True)


def test_a_missing_file_is_named(tmp_path):
    records = open_lsp(tiny_lsp(tmp_path / "lsp").path)
    (tmp_path / "lsp/images/im0004.jpg").unlink()
    with pytest.raises(UserError, match=r"im0004\.jpg: can't be read"):
        prepare(records, 16)


def test_joints_are_in_the_image_as_a_viewer_shows_it():
    shown, centre = dot((60, 40), (45, 12), 3.0), (45, 12)
    exif = Image.Exif()
    exif[0x0112] = 6  # Shown turned to the right: stored turned to the left.
    data = png(shown.transpose(Image.Transpose.ROTATE_90), exif=exif)
    poses, _ = prepare([record("a", data, [centre])], 60)
    np.testing.assert_array_equal(
        poses.canvases, prepare([record("a", png(shown))], 60)[0].canvases
    )
    np.testing.assert_allclose(spot(poses.canvases[0]), poses.joints[0, 0], atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"canvas": 0}, "canvas: got 0"),
        ({"canvas": 8, "box": "person"}, "box: got 'person'"),
        ({"canvas": 8, "box": "joints", "box_scale": 0.5}, "box_scale: got 0.5"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        prepare([record("a", _jpeg_bytes())], **options)
    with pytest.raises(UserError, match="no images"):
        prepare([], 8)


def test_published_images(real_data):
    """Every twentieth image of LSP, and of LSP Extended in joint boxes."""
    for records, box in (
        (open_lsp(real_data / "lsp")[::20], "image"),
        (open_lsp_extended(real_data / "lspet")[::90], "joints"),
    ):
        poses, _ = prepare(records, 128, box)
        seen = poses.joints[poses.labelled]
        assert (seen > -1.5).all()
        assert (seen < 128.5).all()
        for i, record_ in enumerate(records):
            ones = np.concatenate([poses.joints[i], np.ones((14, 1))], axis=1)
            back = (ones @ poses.to_image[i].T)[poses.labelled[i]]
            np.testing.assert_allclose(back, record_.joints[poses.labelled[i]], atol=1e-3)
