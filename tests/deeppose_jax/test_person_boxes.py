import json
from pathlib import Path

import pytest

from deeppose_jax.person_boxes import PersonBox, read_boxes
from engine_jax.errors import UserError


def written(folder: Path, text: str) -> Path:
    path = folder / "boxes"
    path.write_text(text)
    return path


def test_csv_is_in_this_packages_coordinates(tmp_path):
    path = written(tmp_path, "file,score,x0,y0,x1,y1\na.jpg,0.5,1,2,3,4.5\nb,,0,0,1,1\n")
    boxes = read_boxes(path)
    assert boxes.of(Path("/any/a.jpg")) == [PersonBox((1.0, 2.0, 3.0, 4.5), 0.5)]
    assert boxes.of(Path("b.png")) == [PersonBox((0.0, 0.0, 1.0, 1.0))]
    assert boxes.of(Path("c.png")) == []


def test_images_may_be_named_by_their_paths(tmp_path, monkeypatch):
    """The whole path or its end; of two images of one name the one in the named folder is meant."""
    monkeypatch.chdir(tmp_path)
    lines = ("cats/1.jpg,0,0,1,1", "./dogs/1,0,0,2,2", f"{tmp_path}/dogs/2.jpg,0,0,3,3")
    boxes = read_boxes(written(tmp_path, "\r".join(("file,x0,y0,x1,y1", *lines))))
    for name, expected in (
        ("cats/1.jpg", [1.0]),
        ("/any/dogs/1.png", [2.0]),
        ("dogs/2.jpg", [3.0]),
        ("1.jpg", []),
        ("ucats/1.jpg", []),
    ):
        assert [person.box[2] for person in boxes.of(Path(name))] == expected


@pytest.mark.parametrize("form", ["data set", "results"])
def test_coco_boxes_start_at_the_corner_of_the_first_pixel(form, tmp_path):
    entries = [
        {"image_id": 139, "category_id": 1, "bbox": [0, 0, 10, 20], "score": 0.9},
        {"image_id": 139, "category_id": 3, "bbox": [5, 5, 10, 20], "score": 0.8},
        {"image_id": 140, "bbox": [1, 2, 3, 4]},
    ]
    images = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in (139, 140)]
    held = entries if form == "results" else {"images": images, "annotations": entries}
    boxes = read_boxes(written(tmp_path, json.dumps(held)))
    # All pixels of an image of 10 x 20.
    assert boxes.of(Path("000000000139.jpg")) == [PersonBox((-0.5, -0.5, 9.5, 19.5), 0.9)]
    assert boxes.of(Path("000000000140.jpg")) == [PersonBox((0.5, 1.5, 3.5, 5.5))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,x0,y0,x1\na,1,2,3\n", "no column y1"),
        ("file,x0,y0,x1,y1\na,1,2,3,x\n", "could not convert string to float: 'x'"),
        ("file,x0,y0,x1,y1\na,1,2,3\n", "accepted: COCO JSON, or CSV"),
        ("file,x0,y0,x1,y1\na,1,2,3,inf\n", "box "),
        ("", "no column file"),
        ("[", "accepted: COCO JSON, or CSV"),
        ('{"images": []}', "no 'annotations'"),
        ('[{"image_id": 1}]', "no 'bbox'"),
        ('[{"image_id": 1, "bbox": [1, 2, 3]}]', "not enough values"),
        ("[7]", "accepted: COCO JSON, or CSV"),
        (f"file,x0,y0,x1,y1\n{'a' * 200_000},1,2,3,4\n", "field larger than field limit"),
        (f'[{{"image_id": 1, "bbox": [1{"0" * 400}, 2, 3, 4]}}]', "too large to convert to float"),
    ],
)
def test_anything_else_is_one_line_that_names_the_file(text, message, tmp_path):
    with pytest.raises(UserError) as error:
        read_boxes(written(tmp_path, text))
    assert str(error.value).startswith(f"{tmp_path / 'boxes'}: ")
    assert message in str(error.value)
