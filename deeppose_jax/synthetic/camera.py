"""A pinhole camera: points in metres to pixels."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Camera(NamedTuple):
    """Looks along +z of its own frame from the origin.

    Attributes:
        focal: focal length, pixels.
        centre: (x, y) of the optical axis, pixels; a picture cut from a larger one has it anywhere.
    """

    focal: Float[Array, ""]
    centre: Float[Array, "2"]

    def project(self, points: Float[Array, "*n 3"]) -> Float[Array, "*n 2"]:
        """Points in the camera's frame, metres, to (x, y) in pixels."""
        return self.focal * points[..., :2] / points[..., 2:] + self.centre

    def scale(self, points: Float[Array, "*n 3"]) -> Float[Array, "*n"]:
        """Pixels per metre at the points."""
        return self.focal / points[..., 2]
