"""Which image files are found, in which order, and reading many of them."""

import logging
import zipfile
from pathlib import Path, PurePath

import pytest

from engine_jax.errors import UserError
from engine_jax.image_files import (
    image_paths,
    is_image,
    natural_order,
    read_all,
    read_bytes,
    read_each,
)
from engine_jax.images import UnreadableError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ["im1.jpg", "im2.jpg", "im10.jpg"],
        ["im0001.jpg", "im0002.jpg", "im0010.jpg"],
        ["0.png", "1.png", "09.png", "10.png"],
        ["a.png", "a1.png", "a1_mask.png", "a2.png", "b1.png"],
        ["x1y2.png", "x1y10.png", "x2y1.png"],
        ["2.jpg", "2.png"],
    ],
)
def test_numbers_in_names_count_as_numbers(names):
    paths = [PurePath(name) for name in names]
    assert sorted(reversed(paths), key=natural_order) == paths


def test_what_an_operating_system_leaves_behind_is_no_image():
    for name in ("a.png", "b/A.JPEG", "c.tif", "d.webp"):
        assert is_image(PurePath(name)), name
    for name in ("._a.png", "__MACOSX/b/a.png", "Thumbs.db", ".DS_Store", "a.gif", "png"):
        assert not is_image(PurePath(name)), name


def test_folders_give_their_images_in_the_order_of_their_numbers(tmp_path):
    touch(tmp_path, "im10.jpg", "im2.jpg", "._im2.jpg", "Thumbs.db", "notes.txt", "other.gif")
    other = tmp_path / "other.gif"
    found = image_paths([str(tmp_path), str(other)])
    assert [path.name for path in found] == ["im2.jpg", "im10.jpg", "other.gif"]
    touch(tmp_path / "empty", "._im2.jpg")
    with pytest.raises(UserError, match=r"empty: no images here; accepted: \.png"):
        image_paths([str(tmp_path / "empty")])
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        image_paths(["nowhere"])


def test_a_damaged_member_of_an_archive_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", bytes(100))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[50] = 1
    (tmp_path / "a.zip").write_bytes(data)
    member = zipfile.Path(tmp_path / "a.zip") / "a.png"
    with pytest.raises(UnreadableError, match=r"a\.png: can't be read \("):
        read_bytes(member.read_bytes, "a.png")


def test_errors_stand_in_the_place_of_results():
    def read(i: int) -> int:
        if i % 2:
            raise UserError(f"{i} is odd")
        return 10 * i

    found = read_each(read, 4)
    assert [str(result) for result in found] == ["0", "1 is odd", "20", "3 is odd"]


def reader(errors: dict[int, Exception]):
    def read(i: int) -> None:
        if i in errors:
            raise errors[i]

    return read


def test_read_all_leaves_out_what_is_unreadable(caplog):
    bad = {1: UnreadableError("b: empty"), 3: UnreadableError("d: empty")}
    with caplog.at_level(logging.WARNING):
        assert read_all(reader(bad), "abcd", skip_unreadable=True) == [0, 2]
    assert "2 of 4 images can't be read and are left out: b, d" in caplog.text
    with pytest.raises(UserError, match=r"^b: empty \(and 1 more of 4 images\)$"):
        read_all(reader(bad), "abcd", skip_unreadable=False)
    with pytest.raises(UserError, match=r"^b: empty$"):
        read_all(reader({0: bad[1]}), "b", skip_unreadable=True)


def test_read_all_leaves_nothing_else_out():
    bad = {0: UnreadableError("a: empty"), 2: UserError("c: of another size")}
    with pytest.raises(UserError, match=r"^c: of another size \(and 1 more of 3 images\)$"):
        read_all(reader(bad), "abc", skip_unreadable=True)
    with pytest.raises(ZeroDivisionError):  # A defect of the program's keeps its traceback.
        read_all(reader({1: ZeroDivisionError()}), "abc", skip_unreadable=True)
