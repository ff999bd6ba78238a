import numpy as np
import pytest

from deeppose_jax.cascade import StagePoses
from deeppose_jax.previous_stage import cached_poses


def poses(count=3):
    return StagePoses(np.arange(count * 10.0).reshape(count, 5, 2), None, np.ones((count, 1, 4)))


def fails():
    raise AssertionError("not cached")


def test_poses_are_made_once(tmp_path):
    path = tmp_path / "train_poses.npz"
    cached_poses(path, 3, poses)
    np.testing.assert_array_equal(cached_poses(path, 3, fails).joints, poses().joints)


def emptied(path):
    path.write_bytes(b"")


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-40])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 8
    path.write_bytes(data)


def of_other_arrays(path):
    np.savez(path, other=np.ones(3))


def of_other_images(path):
    joints = poses(4)
    np.savez(path, joints=joints.joints, boxes=joints.boxes)


def pickled(path):
    with path.open("wb") as file:
        np.save(file, np.array([{}], object))


@pytest.mark.parametrize(
    "damage", [emptied, cut_short, flipped, of_other_arrays, of_other_images, pickled]
)
def test_a_damaged_file_is_made_again_which_a_line_says(damage, tmp_path, caplog):
    path = tmp_path / "train_poses.npz"
    cached_poses(path, 3, poses)
    damage(path)
    np.testing.assert_array_equal(cached_poses(path, 3, poses).joints, poses().joints)
    assert "train_poses.npz: damaged (" in caplog.text
    assert "); made again" in caplog.text
    cached_poses(path, 3, fails)
