"""Reads and writes video files with PyAV, the extra "video", which nothing else needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType

import numpy as np
from jaxtyping import UInt8

from engine_jax.errors import UserError, reason
from engine_jax.files import check_regular

_CODECS = ("libx264", "mpeg4")  # The first that this FFmpeg has.
_RATE = Fraction(25)  # of a video that doesn't say its own


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes:
        number: from 0.
        seconds: from the beginning of the video.
        pixels: uint8 RGB, upright.
    """

    number: int
    seconds: float
    pixels: UInt8[np.ndarray, "h w 3"]


def pyav() -> ModuleType:
    """The module `av`.

    Raises:
        UserError: it isn't installed.
    """
    try:
        import av  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            'videos are read with PyAV, which is not installed; pip install "deeppose-jax[video]"'
        ) from error
    return av


class VideoReader:
    """The frames of a file's first video stream, in their order.

    Args:
        path: of the file.

    Attributes:
        frame_rate: frames a second, on average.
        count: of the frames, as the file says; None where it doesn't.

    Raises:
        UserError: the file can't be read, or holds no video.
    """

    def __init__(self, path: Path):
        av = pyav()
        self._path = path
        try:
            check_regular(path)
            self._container = av.open(str(path))
            streams = self._container.streams.video
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: can't be read as a video ({reason(error)})") from error
        if not streams:
            raise UserError(f"{path}: holds no video")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self.frame_rate = Fraction(self._stream.average_rate or self._stream.guessed_rate or _RATE)
        self.count: int | None = self._stream.frames or None

    def __iter__(self) -> Iterator[Frame]:
        """Raises a UserError at a frame that can't be decoded."""
        first = None
        with self._container:
            frames = enumerate(self._container.decode(self._stream))
            while True:
                try:
                    number, frame = next(frames, (0, None))
                    if frame is None:
                        return
                    pixels = frame.to_ndarray(format="rgb24")
                except (OSError, ValueError) as error:
                    raise UserError(
                        f"{self._path}: can't be read as a video ({reason(error)})"
                    ) from error
                # The display matrix turns the frame counterclockwise.
                upright = np.rot90(pixels, round(frame.rotation / 90) % 4)
                at = number / self.frame_rate if frame.time is None else frame.time
                first = at if first is None else first
                yield Frame(number, float(at - first), np.ascontiguousarray(upright))


class VideoWriter:
    """Writes frames of one size to an MP4 file, at a constant rate; a context, at whose end the file is there.

    An odd last row or column of pixels is left out, which the codecs don't take.

    Args:
        path: of the file, which is replaced if it is there.
        frame_rate: frames a second.

    Raises:
        UserError: the file can't be written.
    """

    def __init__(self, path: Path, frame_rate: Fraction):
        self._av, self._path, self._rate = pyav(), path, frame_rate
        self._partial = path.with_suffix(".partial")
        self._stream = None
        try:
            self._container = self._av.open(str(self._partial), "w", format="mp4")
        except OSError as error:
            raise UserError(f"{path}: can't be written ({reason(error)})") from error

    def add(self, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
        """Appends a frame."""
        height, width = (side - side % 2 for side in pixels.shape[:2])
        if self._stream is None:
            codec = next(name for name in _CODECS if name in self._av.codecs_available)
            self._stream = self._container.add_stream(codec, rate=self._rate)
            self._stream.width, self._stream.height = width, height
            self._stream.pix_fmt = "yuv420p"
        even = np.ascontiguousarray(pixels[:height, :width])
        self._mux(self._av.VideoFrame.from_ndarray(even, format="rgb24"))

    def _mux(self, frame: object) -> None:
        assert self._stream is not None
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except OSError as error:
            raise UserError(f"{self._path}: can't be written ({reason(error)})") from error

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._stream is not None:
                self._mux(None)
            self._container.close()
            if self._stream is not None:
                self._partial.replace(self._path)
        except OSError as failed:
            raise UserError(f"{self._path}: can't be written ({reason(failed)})") from failed
        finally:
            self._partial.unlink(missing_ok=True)
