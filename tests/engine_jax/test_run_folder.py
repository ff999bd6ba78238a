import json

import pytest

from engine_jax.errors import UserError
from engine_jax.run_folder import RunFolder
from engine_jax.writer import MetricsWriter, read_metrics

CONFIG = {"seed": 0, "data": {"dir": "x", "sizes": (1, 2)}}


def test_the_same_config_resumes(tmp_path):
    RunFolder(tmp_path / "run").start(CONFIG)
    RunFolder(tmp_path / "run").start(CONFIG)
    assert RunFolder(tmp_path / "run").read_config()["data"] == {"dir": "x", "sizes": [1, 2]}


def test_another_config_is_refused_by_the_fields_that_differ(tmp_path):
    RunFolder(tmp_path).start(CONFIG)
    other = {"seed": 1, "data": {"dir": "y", "sizes": (1, 2)}, "new": 3}
    with pytest.raises(UserError) as error:
        RunFolder(tmp_path).start(other)
    message = str(error.value)
    assert "config.seed: 0 there, 1 here" in message
    assert "config.data.dir: 'x' there, 'y' here" in message
    assert "config.new: 'missing' there, 3 here" in message
    assert "sizes" not in message


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="not a run's folder"):
        RunFolder(tmp_path).start(CONFIG)


def test_a_folder_without_a_run_or_with_a_broken_config_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        RunFolder(tmp_path).read_config()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: not JSON"):
        RunFolder(tmp_path).read_config()


def test_results_are_strict_json(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.read_results() is None
    with pytest.raises(ValueError, match="JSON"):
        folder.write_results({"pcp": float("nan")})
    folder.write_results({"pcp": 1.5})
    assert folder.read_results() == {"pcp": 1.5}


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
