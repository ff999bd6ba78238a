import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

import pytest

from engine_jax.config import Location
from engine_jax.errors import UserError
from engine_jax.run_folder import RunFolder, Schema
from engine_jax.writer import MetricsWriter, read_metrics
from tests.deeppose_jax.runs import ROOT
from tests.engine_jax.odd_paths import ODD


@dataclass(frozen=True)
class Data:
    dir: Location
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Config:
    task: Literal["toy"]
    seed: int
    data: Data


@dataclass(frozen=True)
class LaterConfig(Config):
    speed: float = 2.0


SCHEMA = Schema("toy", Config)
RUN = Config("toy", 0, Data("x", (1, 2)))
FINISHED = {"task": "toy", "seed": 0}


@pytest.mark.parametrize(("odd", "message"), ODD)
def test_a_place_where_no_run_can_be_is_named(odd, message, tmp_path):
    with pytest.raises(UserError, match=message):
        RunFolder(odd(tmp_path)).check(SCHEMA, RUN)


def test_the_same_config_resumes_wherever_the_data_lie(tmp_path):
    RunFolder(tmp_path / "run").start(SCHEMA, RUN)
    RunFolder(tmp_path / "run").start(SCHEMA, RUN)
    RunFolder(tmp_path / "run").start(SCHEMA, Config("toy", 0, Data("elsewhere", (1, 2))))
    assert RunFolder(tmp_path / "run").read_settings(SCHEMA) == RUN


def test_another_config_is_refused_by_the_fields_that_differ(tmp_path):
    RunFolder(tmp_path).start(SCHEMA, RUN)
    with pytest.raises(UserError) as error:
        RunFolder(tmp_path).start(SCHEMA, Config("toy", 1, Data("y", (1, 3))))
    message = str(error.value)
    assert "config.seed: 0 there, 1 here" in message
    assert "config.data.sizes: (1, 2) there, (1, 3) here" in message
    assert "config.data.dir" not in message


def test_a_field_that_was_added_gets_its_default(tmp_path):
    RunFolder(tmp_path).start(SCHEMA, RUN)
    later = Schema("toy", LaterConfig)
    assert RunFolder(tmp_path).read_settings(later) == LaterConfig("toy", 0, RUN.data, 2.0)
    RunFolder(tmp_path).check(later, LaterConfig("toy", 0, RUN.data))
    with pytest.raises(UserError, match=r"config\.speed: 2\.0 there, 3\.0 here"):
        RunFolder(tmp_path).check(later, LaterConfig("toy", 0, RUN.data, 3.0))


def test_an_older_format_is_upgraded_and_a_newer_one_refused(tmp_path):
    old = {"task": "toy", "number": 7, "data": {"dir": "x", "sizes": [1, 2]}}
    (tmp_path / "config.json").write_text(json.dumps(old))

    def with_seed(config):
        config["seed"] = config.pop("number")
        return config

    schema = Schema("toy", Config, (with_seed,))
    expected = Config("toy", 7, RUN.data)
    assert RunFolder(tmp_path).read_settings(schema) == expected
    with pytest.raises(UserError, match="an unfinished run that an earlier version began"):
        RunFolder(tmp_path).check(schema, expected)
    RunFolder(tmp_path).write_results(FINISHED)
    RunFolder(tmp_path).check(schema, expected)

    RunFolder(tmp_path / "new").start(schema, expected)
    assert json.loads((tmp_path / "new" / "config.json").read_text())["format"] == 1
    with pytest.raises(UserError, match="its format is 1, written by a newer version"):
        RunFolder(tmp_path / "new").read_settings(SCHEMA)


def test_a_run_of_another_task_says_so(tmp_path):
    RunFolder(tmp_path).start(SCHEMA, RUN)
    with pytest.raises(UserError, match="holds a run of the task 'toy'; accepted: 'pose'"):
        RunFolder(tmp_path).read_settings(Schema("pose", Config))


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="not a run's folder"):
        RunFolder(tmp_path).start(SCHEMA, RUN)


def test_a_folder_without_a_run_or_with_a_broken_config_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        RunFolder(tmp_path).read_settings(SCHEMA)
    for text, message in (("{", "not JSON"), ("[1]", "holds list; accepted: a JSON object")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=rf"config\.json: {message}"):
            RunFolder(tmp_path).read_settings(SCHEMA)


def test_results_are_strict_json(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.read_results() is None
    with pytest.raises(ValueError, match="JSON"):
        folder.write_results({"pcp": float("nan")})
    folder.write_results(FINISHED)
    assert folder.read_results() == FINISHED


def test_a_resumed_writer_drops_what_came_after_its_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path, "a") as writer:
        for step in (1, 2, 3):
            writer.write(step, step / 2, {"train/loss": float(step)})
    with path.open("a") as file:
        file.write('{"step": 4, "ep')  # killed while writing
    with MetricsWriter(path, "a", step=2) as writer:
        writer.write(3, 1.5, {"train/loss": 30.0})
    assert [row["train/loss"] for row in read_metrics(path, "a")] == [1.0, 2.0, 30.0]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_rows_reach_the_disk_in_blocks(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr("engine_jax.writer.time.monotonic", lambda: now)
    path = tmp_path / "metrics.jsonl"

    def written():
        return [row["step"] for row in read_metrics(path, "a")]

    with MetricsWriter(path, "a") as writer:
        for step in (1, 2):
            writer.write(step, step, {"train/loss": 1.0})
        assert written() == []
        now = 1.0
        writer.write(3, 3, {"train/loss": 1.0})
        assert written() == [1, 2, 3]
        writer.write(4, 4, {"train/loss": 1.0})
        writer.flush()
        assert written() == [1, 2, 3, 4]
        writer.write(5, 5, {"train/loss": 1.0})
    assert written() == [1, 2, 3, 4, 5]


def test_damaged_lines_are_left_out_which_a_line_says(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    good = '{"part": "a", "step": 1, "epoch": 0.5, "train/loss": 2.0}\n'
    bad = (
        "{}\n",
        "[1]\n",
        "\x00\x00\n",
        '{"part": "a", "step": "1", "epoch": 1}\n',
        "[" * 99_999 + "\n",
    )
    path.write_text(good + "".join(bad))
    assert read_metrics(path, "a") == [{"step": 1, "epoch": 0.5, "train/loss": 2.0}]
    assert "metrics.jsonl: 5 of 6 lines are damaged and left out" in caplog.text
    path.write_bytes(b"")
    assert read_metrics(path, "a") == []


@pytest.mark.parametrize("text", ["{}", "[]", "null", "", "{", '{"task": "toy"}', "[" * 99_999])
def test_damaged_results_do_not_pass_for_a_finished_run(text, tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "results.json").write_text(text)
    assert not folder.finished
    with pytest.raises(UserError, match=r"results\.json: "):
        folder.read_finished()


@pytest.mark.parametrize("number", ["-1", "1.0", "true", "null", "[]", '"1"'])
def test_a_format_that_is_none_is_named(number, tmp_path):
    (tmp_path / "config.json").write_text(f'{{"task": "toy", "format": {number}}}')
    with pytest.raises(UserError, match=r"config\.json: format is "):
        RunFolder(tmp_path).read_settings(SCHEMA)


def test_an_older_config_that_is_damaged_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"task": "toy"}')
    schema = Schema("toy", Config, (lambda config: config | {"seed": config["number"]},))
    with pytest.raises(UserError, match=r"config\.json: damaged, of format 0 \(KeyError"):
        RunFolder(tmp_path).read_settings(schema)


def test_a_run_killed_before_its_config_was_written_can_be_started(tmp_path):
    (tmp_path / "lock").touch()
    (tmp_path / "config.partial").write_text("{")
    RunFolder(tmp_path).start(SCHEMA, RUN)
    assert RunFolder(tmp_path).read_settings(SCHEMA) == RUN


def test_a_second_run_in_a_folder_is_refused(tmp_path):
    RunFolder(tmp_path).start(SCHEMA, RUN)
    other = (
        "import sys; from engine_jax.errors import UserError\n"
        "from tests.engine_jax.test_run_folder import *\n"
        "try: RunFolder(sys.argv[1]).start(SCHEMA, RUN)\n"
        "except UserError as error: print(error)"
    )
    command = [sys.executable, "-c", other, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert said.startswith(f"{tmp_path}: another process is running here")
