"""From encoded images of any kind to arrays of one size."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from engine_jax.images import read_image


def decode(data: bytes, name: str) -> Image.Image:
    """Decodes an encoded image of any kind to RGB, 8 bits a channel, upright by its EXIF orientation.

    Grey becomes three equal channels, 0 .. 65535 becomes 0 .. 255, and an alpha channel is dropped.

    Raises:
        UserError: the bytes are no readable image; `name` is what the message calls it.
    """
    return read_image(data, name, _rgb)


def _rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        grey = np.asarray(image).clip(0, 65535) / 257
        image = Image.fromarray(grey.round().astype(np.uint8))
    elif image.mode == "P":
        image = image.convert("RGBA")  # A palette may hold transparent colours.
    return image.convert("RGB")


def fit(image: Image.Image, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """Resizes an RGB image so that its shorter side is `size` pixels, and cuts out its middle square.

    Source: Krizhevsky et al. 2012, section 2.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))
