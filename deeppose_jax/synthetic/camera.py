"""A pinhole camera: points in metres to pixels."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Camera(NamedTuple):
    """A camera at the origin of its own frame that looks along +z.

    Attributes:
        focal: focal length, pixels.
        centre: (x, y) of the optical axis, pixels; not the picture's middle if the picture is a crop.
    """

    focal: Float[Array, ""]
    centre: Float[Array, "2"]

    def project(self, points: Float[Array, "*n 3"]) -> Float[Array, "*n 2"]:
        """Points in the camera's frame, metres, to (x, y) in pixels."""
        return self.focal * points[..., :2] / points[..., 2:] + self.centre

    def scale(self, points: Float[Array, "*n 3"]) -> Float[Array, "*n"]:
        """Pixels per metre at the points."""
        return self.focal / points[..., 2]
