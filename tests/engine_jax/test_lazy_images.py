"""Images that are decoded when they are indexed, and what may be had of them."""

import numpy as np
import pytest

from engine_jax.errors import UserError
from engine_jax.images import UnreadableError
from engine_jax.lazy_images import LazyImages
from engine_jax.placement import check_placement

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 2, 4, 3), np.uint8)


def lazy(images, broken=()):
    def read(i):
        if i in broken:
            raise UnreadableError(f"image {i}: damaged")
        return images[i]

    return LazyImages(read, [f"image {i}" for i in range(len(images))], images.shape[1:])


@pytest.mark.parametrize(
    "index",
    [3, -1, slice(2), slice(None, None, 3), [], [5, 0, 5], np.array([[6, 1], [0, 2]]), PIXELS[:, 0, 0, 0] > 99],
    ids=str,
)  # fmt: skip
def test_indexing_gives_what_an_array_gives(index):
    found = lazy(PIXELS)[index]
    expected = PIXELS[index]
    assert isinstance(found, np.ndarray)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def test_two_sets_follow_each_other():
    both = lazy(PIXELS[:3]).followed_by(lazy(PIXELS[3:]))
    assert (both.shape, both.dtype, both.nbytes) == (PIXELS.shape, PIXELS.dtype, PIXELS.nbytes)
    np.testing.assert_array_equal(both[[2, 3, 6]], PIXELS[[2, 3, 6]])


def test_nothing_is_decoded_that_is_not_asked_for():
    some = lazy(PIXELS, broken=(2, 4))
    np.testing.assert_array_equal(some[[1, 3]], PIXELS[[1, 3]])
    with pytest.raises(UserError, match=r"^image 4: damaged$"):
        some[3:6]
    with pytest.raises(IndexError):
        some[7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"in_files": False},
            r"config.data.placement: 'files' with config.data.dataset='some'.* in memory; accepted: 'device'",
        ),
        ({"skip_unreadable": True}, "config.data.skip_unreadable: True with .* accepted: False"),
    ],
)
def test_what_files_cannot_give_is_refused(changes, message):
    wanted = {"dataset": "some", "in_files": True, "skip_unreadable": False}
    check_placement("files", **wanted)
    for other in ("device", "stream"):
        check_placement(other, **wanted | changes)
    with pytest.raises(UserError, match=message):
        check_placement("files", **wanted | changes)
