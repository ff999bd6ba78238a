"""Poses in videos, where PyAV is installed."""

import json
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from deeppose_jax import load, predict, save
from deeppose_jax.boxes import input_box
from deeppose_jax.smoothing import OneEuroFilter
from deeppose_jax.video import followed
from engine_jax.video_files import VideoReader, VideoWriter
from tests import programs
from tests.deeppose_jax.cascades import random_cascade

FRAMES, RATE, WIDTH, HEIGHT = 5, Fraction(10), 64, 48


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    save(random_cascade("shared"), file)
    return file


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """A bright square that moves to the right."""
    pytest.importorskip("av", reason="PyAV, the extra video, is not installed")
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    with VideoWriter(path, RATE) as writer:
        for i in range(FRAMES):
            pixels = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
            pixels[10:30, 8 * i : 8 * i + 20] = (220, 160, 90)
            writer.add(pixels)
    return path


call = partial(programs.call, predict)


def predicted(monkeypatch, video, model, out, *arguments):
    """What predictions.json holds."""
    arguments = ("--video", video, "--workdir", model, "--out", out, *arguments)
    assert call(monkeypatch, *arguments) == 0
    return json.loads((out / "predictions.json").read_text())


def joints_of(written):
    return np.array([entry["people"][0]["joints"] for entry in written["predictions"]])


def test_each_frame_has_a_pose_and_is_drawn(video, model, tmp_path, monkeypatch):
    written = predicted(monkeypatch, video, model, tmp_path, "--draw-scores")
    entries = written["predictions"]
    assert [entry["frame"] for entry in entries] == list(range(FRAMES))
    assert [entry["seconds"] for entry in entries] == [0, 0.1, 0.2, 0.3, 0.4]
    assert written["video"]["frame_rate"] == 10
    assert len(written["joint_names"]) == 14
    frames = list(VideoReader(video))
    expected = load(model).predict([frame.pixels for frame in frames])
    np.testing.assert_allclose(joints_of(written), [p.joints for p in expected], atol=2e-3)
    drawn = list(VideoReader(tmp_path / "walk_poses.mp4"))
    assert len(drawn) == FRAMES
    assert {frame.pixels.shape for frame in drawn} == {(450, 600, 3)}
    # The square, drawn larger, is where it was in its frame, among limbs.
    square = drawn[2].pixels[100:270, 165:320].mean((0, 1))
    assert square[0] > 150 > 100 > drawn[2].pixels[320:, :60].mean()


def test_the_person_is_looked_for_in_the_box_or_around_the_last_pose(
    video, model, tmp_path, monkeypatch
):
    given = (4.0, 2.0, 40.0, 46.0)
    box = "--box=" + ",".join(map(str, given))
    still = predicted(monkeypatch, video, model, tmp_path / "still", box)
    people = [entry["people"][0] for entry in still["predictions"]]
    assert {tuple(person["box"]) for person in people} == {given}
    assert {tuple(person["input_box"]) for person in people} == {input_box(given, WIDTH, HEIGHT)}
    moving = predicted(monkeypatch, video, model, tmp_path / "moving", box, "--follow")
    joints, boxes = joints_of(moving), [e["people"][0]["box"] for e in moving["predictions"]]
    assert tuple(boxes[0]) == given
    for before, found in zip(joints[:-1], boxes[1:], strict=True):
        np.testing.assert_allclose(found, followed(before, given, WIDTH, HEIGHT), atol=2e-3)
    assert boxes[1] != boxes[0]


def test_a_pose_that_is_lost_is_looked_for_in_the_box_again():
    given = (0.0, 0.0, 40.0, 40.0)
    pose = np.array([[10.0, 10.0], [30.0, 26.0]])
    assert followed(pose, given, 64, 48) == (7.5, 8.0, 32.5, 28.0)
    assert followed(pose + 30, given, 64, 48) == (37.5, 38.0, 62.5, 47.5)
    assert followed(pose + 100, given, 64, 48) == given
    assert followed(pose / 10, given, 64, 48) == given


def test_joints_are_smoothed_over_time_in_parts_of_the_box(video, model, tmp_path, monkeypatch):
    raw = joints_of(predicted(monkeypatch, video, model, tmp_path / "raw"))
    smooth = predicted(monkeypatch, video, model, tmp_path / "smooth", "--smooth", "0.5")
    assert smooth["video"]["smoothing_cutoff"] == 0.5
    filtered = OneEuroFilter(0.5)
    expected = [WIDTH * filtered(joints / WIDTH, i / 10) for i, joints in enumerate(raw)]
    np.testing.assert_allclose(joints_of(smooth), expected, atol=0.01)
    assert np.abs(joints_of(smooth) - raw).max() > 0.1


def test_frames_are_upright(video, tmp_path):
    """Of a file that says of its frames that they are to be turned."""
    av = pytest.importorskip("av")
    turned = tmp_path / "turned.mp4"
    with av.open(str(video)) as source, av.open(str(turned), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)  # counterclockwise
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    (first, *_), (plain, *_) = VideoReader(turned), VideoReader(video)
    np.testing.assert_array_equal(first.pixels, np.rot90(plain.pixels))


def test_an_odd_size_and_a_stopped_program_leave_a_video(tmp_path):
    pytest.importorskip("av")

    def write():
        with VideoWriter(tmp_path / "odd.mp4", RATE) as writer:
            writer.add(np.zeros((33, 65, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    (frame,) = VideoReader(tmp_path / "odd.mp4")
    assert frame.pixels.shape == (32, 64, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["odd.mp4"]


def test_bad_input_is_one_line(video, model, tmp_path, monkeypatch, capsys):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    for arguments, message in (
        (("--video", text), "text.mp4: can't be read as a video"),
        (("--video", tmp_path / "none.mp4"), "none.mp4: can't be read as a video"),
        (("--video", video, video), "images: accepted: --video FILE without it"),
        (("--video", video, "--box=1,2,9,9", "--box=2,3,9,9"), "several --box: accepted"),
        (("--video", video, "--box=200,200,210,210"), "walk.mp4: (200.0, 200.0"),
        ((video, "--follow"), "--follow: accepted: --video FILE with it"),
        ((), "no images; accepted: IMAGE_OR_FOLDER..., or --video FILE"),
    ):
        out = ("--workdir", model, "--out", tmp_path / "out")
        assert call(monkeypatch, *arguments, *out) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error


def test_without_pyav_a_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    assert call(monkeypatch, "--video", tmp_path / "a.mp4", "--out", tmp_path / "out") == 1
    assert 'pip install "deeppose-jax[video]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
