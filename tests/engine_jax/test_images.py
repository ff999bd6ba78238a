"""Images of every kind become RGB, by the same rules in all three tasks."""

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

import anomaly_jax.data
import classify_jax.data
import deeppose_jax.data
from engine_jax import images
from engine_jax.errors import UserError
from engine_jax.images import (
    UnreadableError,
    as_rgb,
    decode_rgb,
    pixels,
    read_image,
    upright_size,
)

RED, WHITE = (200, 30, 60), (255, 255, 255)


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(mode: str, colour) -> Image.Image:
    return Image.new(mode, (4, 4), colour)


def grey(value: float, kind: type) -> np.ndarray:
    """4 x 4 pixels of one value, but for a black one."""
    return np.where(np.eye(4) * np.eye(4)[0] > 0, 0, value).astype(kind)


def palette(alpha: int) -> bytes:
    """Every pixel of the second colour, whose alpha is given."""
    image = plain("P", 1)
    image.putpalette([0, 0, 0, *RED])
    return encoded(image, transparency=bytes([255, alpha]))


def png16(values: tuple[int, ...], colour_type: int, transparent: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, 4 x 4 pixels alike: Pillow writes grey ones only."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    row = b"\0" + np.tile(np.array(values, ">u2"), 4).tobytes()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, colour_type, 0, 0, 0))
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(4 * row))
        + chunk(b"IEND", b"")
    )


def tiff(bits: int, content: bytes, meaning: int = 1) -> bytes:
    """A TIFF of 4 x 4 grey values, of kinds that Pillow doesn't write."""
    values = {256: 4, 257: 4, 258: bits, 259: 1, 262: meaning, 273: 0, 277: 1, 278: 4}
    values |= {279: len(content), 339: 1}
    values[273] = 8 + 2 + 12 * len(values) + 4
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, v, 0) for tag, v in values.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(values))
    return head + entries + struct.pack("<I", 0) + content


# What is encoded, the colour of its last pixel, and by how much that may be off.
KINDS = {
    "1 bit": (encoded(plain("1", 1)), WHITE, 0),
    "grey": (encoded(plain("L", 70)), (70, 70, 70), 0),
    "grey JPEG": (encoded(plain("L", 70), "JPEG"), (70, 70, 70), 1),
    "RGB": (encoded(plain("RGB", RED)), RED, 0),
    "RGB BMP": (encoded(plain("RGB", RED), "BMP"), RED, 0),
    "RGB JPEG": (encoded(plain("RGB", RED), "JPEG", quality=100), RED, 2),
    "RGB WebP": (encoded(plain("RGB", RED), "WEBP", lossless=True), RED, 0),
    "two pictures in one JPEG": (
        encoded(plain("RGB", RED), "MPO", save_all=True, append_images=[plain("RGB", 0)]),
        RED,
        3,
    ),
    "palette": (palette(255), RED, 0),
    "CMYK JPEG": (encoded(plain("CMYK", (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0), 4),
    "CMYK TIFF": (encoded(plain("CMYK", (0, 255, 255, 0)), "TIFF"), (255, 0, 0), 0),
    "YCbCr TIFF": (encoded(plain("RGB", RED).convert("YCbCr"), "TIFF"), RED, 2),
    "LAB TIFF": (encoded(plain("RGB", RED).convert("LAB"), "TIFF"), RED, 2),
    "opaque": (encoded(plain("RGBA", (*RED, 255))), RED, 0),
    "transparent": (encoded(plain("RGBA", (*RED, 0))), WHITE, 0),
    "half transparent": (encoded(plain("RGBA", (0, 0, 0, 51))), (204, 204, 204), 0),
    "transparent WebP": (
        encoded(plain("RGBA", (*RED, 0)), "WEBP", lossless=True, exact=True),
        WHITE,
        0,
    ),
    "transparent grey": (encoded(plain("LA", (100, 0))), WHITE, 0),
    "transparent palette": (palette(0), WHITE, 0),
    "half transparent palette": (palette(51), (244, 210, 216), 0),
    "transparent colour of a palette": (encoded(plain("P", 0), transparency=0), WHITE, 0),
    "transparent grey value": (encoded(plain("L", 9), transparency=9), WHITE, 0),
    "transparent colour": (encoded(plain("RGB", RED), transparency=RED), WHITE, 0),
    "16 bit": (encoded(grey(257 * 9 + 128, np.uint16)), (9, 9, 9), 0),
    "16 bit, rounded up": (encoded(grey(257 * 9 + 129, np.uint16)), (10, 10, 10), 0),
    "16 bit TIFF": (encoded(grey(65535, np.uint16), "TIFF"), WHITE, 0),
    "16 bit, big-endian": (encoded(grey(65535, ">u2"), "TIFF"), WHITE, 0),
    "16 bit, dark": (encoded(grey(200, np.uint16)), (1, 1, 1), 0),
    "16 bit, transparent grey value": (png16((32768,), 0, b"\x80\x00"), WHITE, 0),
    "16 bit RGB": (png16((0x12FF, 0x8000, 0x80FF), 2), (0x12, 0x80, 0x80), 0),
    "16 bit RGB, transparent": (png16((0x12FF, 0x8000, 0x80FF, 0), 6), WHITE, 0),
    "12 bit TIFF": (tiff(12, bytes([0xFF, 0xFF, 0xFF] * 8)), WHITE, 0),
    "white at 0": (tiff(8, bytes(16), meaning=0), WHITE, 0),
    "32 bit integers": (encoded(grey(65535, np.int32), "TIFF"), WHITE, 0),
    "32 bit integers, black": (encoded(grey(0, np.int32), "TIFF"), (0, 0, 0), 0),
    "float, 0 to 1": (encoded(grey(0.5, np.float32), "TIFF"), (128, 128, 128), 0),
    "float, 0 to 255": (encoded(grey(70.4, np.float32), "TIFF"), (70, 70, 70), 0),
}


def pixels_of_pose(data: bytes) -> np.ndarray:
    record = deeppose_jax.data.Record("a", lambda: data, np.ones((14, 2)), np.ones(14, bool))
    return deeppose_jax.data.prepare([record], 4)[0].canvases[0]


def pixels_of_anomaly(data: bytes) -> np.ndarray:
    record = anomaly_jax.data.Record("a", "train", "good", lambda: data)
    return anomaly_jax.data.prepare([record], 4)[0].images[0]


def pixels_of_classify(data: bytes) -> np.ndarray:
    record = classify_jax.data.Record("a", "cat", None, lambda: data)
    return classify_jax.data.prepare([record], 4, ("cat", "dog")).images[0]


READERS = [pixels_of_pose, pixels_of_anomaly, pixels_of_classify]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_becomes_the_same_rgb_in_all_tasks(kind):
    data, colour, tolerance = KINDS[kind]
    image = decode_rgb(data, "a")
    assert (image.mode, image.size) == ("RGB", (4, 4))
    np.testing.assert_allclose(np.asarray(image)[-1, -1], colour, atol=tolerance)
    for read in READERS:
        np.testing.assert_array_equal(read(data), image)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "accepted: PNG, JPEG, BMP, TIFF, WEBP"),
        (b"no image", "accepted: PNG, JPEG, BMP, TIFF, WEBP"),
        (encoded(plain("RGB", RED), "EPS"), "accepted: PNG, JPEG, BMP, TIFF, WEBP"),
        (encoded(plain("RGB", RED), "GIF"), "accepted: PNG, JPEG, BMP, TIFF, WEBP"),
        (encoded(plain("RGB", RED), "TIFF")[:-20], "truncated"),
        (encoded(grey(70000, np.int32), "TIFF"), "grey values 0 to 70000; accepted: 0 to 65535"),
        (encoded(grey(-5, np.int32), "TIFF"), "grey values -5 to 0"),
        (encoded(grey(200, np.int32), "TIFF"), "0 to 200 .* white may be 255 or 65535; accepted"),
        (encoded(grey(1.02, np.float32), "TIFF"), "0 to 1.02 .* white may be 1 or 255; accepted"),
        (encoded(grey(-0.5, np.float32), "TIFF"), "values -0.5 to 0; accepted: 0 to 1, or 0 to"),
        (encoded(grey(256, np.float32), "TIFF"), "values 0 to 256; accepted: 0 to 1, or 0 to 255"),
        (encoded(grey(np.nan, np.float32), "TIFF"), "not finite; accepted: 0 to 1, or 0 to 255"),
        (encoded(grey(np.inf, np.float32), "TIFF"), "not finite; accepted: 0 to 1, or 0 to 255"),
        (tiff(16, bytes(32), meaning=0), "white at 0; accepted: black at 0"),
    ],
)
def test_what_cannot_be_told_is_named_in_all_tasks(data, message):
    for read in (lambda data: decode_rgb(data, "a"), *READERS):
        with pytest.raises(UserError, match=f"^a: can't be read as an image.*{message}"):
            read(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(kind, orientation):
    """A viewer shows the image whose first pixels are red, whichever way it is stored."""
    shown = np.zeros((8, 16, 3), np.uint8)
    shown[:4, :4], shown[:4, 12:] = (250, 0, 0), (0, 0, 250)
    # What must be stored so that the turn of each orientation gives `shown`.
    stored = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.swapaxes(0, 1),
        6: np.rot90(shown, 1),
        7: shown[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(shown, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    data = encoded(np.ascontiguousarray(stored), kind, exif=exif, **lossless.get(kind, {}))
    image = decode_rgb(data, "a")
    np.testing.assert_allclose(image, shown, atol=4 if kind == "JPEG" else 0)
    assert read_image(data, "a", upright_size) == (16, 8)
    assert as_rgb(image).tobytes() == image.tobytes()


def test_damaged_exif_data_leave_the_image_as_it_is_stored():
    data = encoded(plain("RGB", RED), exif=b"Exif\0\0no TIFF header here")
    assert np.asarray(decode_rgb(data, "a"))[0, 0].tolist() == list(RED)


def test_damaged_bytes_never_raise_anything_else():
    """Whatever Pillow stumbles over comes out as an UnreadableError."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (40, 40, 3), np.uint8)
    for original in (encoded(noise, "JPEG"), KINDS["16 bit"][0], encoded(plain("P", 0))):
        for _ in range(60):
            data = bytearray(original)
            for place in rng.integers(0, len(data), 4):
                data[place] = rng.integers(0, 256)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata.
                with contextlib.suppress(UnreadableError):
                    decode_rgb(bytes(data), "a")


@pytest.mark.parametrize("kind", ["TIFF", "WEBP"])
def test_of_several_pages_the_first_is_used_which_is_said(kind, caplog):
    pages = [Image.new("RGB", (8, 6), colour) for colour in ("white", "black", "red")]
    file = io.BytesIO()
    pages[0].save(file, kind, save_all=True, append_images=pages[1:])
    assert np.asarray(decode_rgb(file.getvalue(), "scan")).min() > 250
    assert caplog.messages == ["scan: holds 3 images; the first one is used"]
    caplog.clear()
    file = io.BytesIO()
    pages[0].save(file, kind)
    decode_rgb(file.getvalue(), "scan")
    assert not caplog.messages


@pytest.mark.parametrize("mode", ["RGB", "L", "F", "1"])
def test_pixels_are_those_of_the_image(mode, monkeypatch):
    monkeypatch.setattr(images, "_ROWS", 4)
    values = np.random.default_rng(0).integers(0, 256, (11, 7, 3), np.uint8)
    image = Image.fromarray(values).convert(mode)
    for box in (None, (2, 1, 6, 10)):
        found = pixels(image, box)
        expected = np.asarray(image if box is None else image.crop(box))
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
