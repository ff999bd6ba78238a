"""The wheel in a fresh environment: its modules, README's Python examples and short runs, far from the repository."""

import ast
import builtins
import gzip
import json
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from tests.convnets_jax.make_torchvision_references import NAMES
from tests.deeppose_jax.runs import ROOT, environment
from tests.short_demos import SHORT

# What examples use without saying where it comes from.
PRESUMED = {"images": "np.zeros((1, 64, 64, 3), np.float32)"}


def run(*command, cwd):
    """Standard output of a program that sees neither the repository nor PYTHONPATH."""
    variables = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory):
    """The folder of `python` and `deeppose-jax` in a new environment: the wheel, and this environment's libraries."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    found = folder / ("Scripts" if sys.platform == "win32" else "bin")
    run(found / "python", "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    site = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = Path(run(found / "python", "-c", site, cwd=folder).strip())
    # Folders that a .pth file names aren't searched for .pth files, so that an editable install stays unseen.
    libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site_packages / "libraries.pth").write_text("\n".join(libraries))
    return found


@pytest.fixture(scope="module")
def demo(programs, tmp_path_factory):
    """A function that gives the folder of a task's demo, trained by the command for an epoch."""
    folder = tmp_path_factory.mktemp("demos")

    @cache
    def trained(task):
        # Those of one task stand for all: pictures take as long as the training.
        pictures = "--pictures" if task == "classify" else "--nopictures"
        changes = (f"--config={task}:demo", *SHORT[task], pictures)
        run(programs / "deeppose-jax", "train", *changes, cwd=folder)
        return folder / "runs" / f"{task}-demo"

    return trained


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    packages = {"anomaly_jax", "classify_jax", "convnets_jax", "deeppose_jax", "engine_jax"}
    found = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert found == {*packages, "launch_jax"}
    others = {name for name in names if not (name.endswith(".py") or ".dist-info/" in name)}
    assert others == {
        f"deeppose_jax/pretrained/{name}" for name in ("README.md", "pose.safetensors")
    }
    configs = {f"launch_jax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    assert configs == {name for name in names if name.startswith("launch_jax/configs/")}


def test_every_module_is_imported_from_the_wheel(wheel, programs, tmp_path):
    paths = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")]
    modules = [path[: -len(".py")].removesuffix("/__init__").replace("/", ".") for path in paths]
    program = "; ".join(
        (
            "import importlib, json",
            f"files = [importlib.import_module(name).__file__ for name in {modules}]",
            "print(json.dumps(files))",
        )
    )
    files = json.loads(run(programs / "python", "-c", program, cwd=tmp_path))
    assert len(files) == len(paths) > 100
    assert all(Path(file).is_relative_to(programs.parent) for file in files)


@pytest.mark.parametrize("task", SHORT)
def test_the_command_trains(task, demo):
    results = json.loads((demo(task) / "results.json").read_text())
    assert (results["task"], results["preset"]) == (task, "demo")


def test_the_command_predicts(programs, demo, tmp_path):
    Image.new("RGB", (70, 90)).save(tmp_path / "photo.png")
    arguments = ("--workdir", demo("pose"), "photo.png", "--out", "found")
    run(programs / "deeppose-jax", "predict-pose", *arguments, cwd=tmp_path)
    found = json.loads((tmp_path / "found" / "predictions.json").read_text())["predictions"]
    assert [prediction["file"] for prediction in found] == ["photo.png"]


BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)


def undefined(block):
    """Names that a program reads and defines nowhere."""
    used, defined = set(), set(dir(builtins))
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
        elif isinstance(node, ast.alias):
            defined.add(node.asname or node.name.partition(".")[0])
    return used - defined


def write_weights(path):
    """torchvision's state dict of the network that the file is called after, of zeros."""
    shapes = json.loads(gzip.decompress(NAMES.read_bytes()))[path.stem]
    safetensors.numpy.save_file({name: np.zeros(shape) for name, shape in shapes.items()}, path)


# Runs example.py of each folder named, and writes error.txt there if it fails. One process, which imports JAX once.
RUN_ALL = """
import contextlib, pathlib, runpy, sys, traceback
for folder in map(pathlib.Path, sys.argv[1:]):
    with contextlib.chdir(folder):
        try:
            runpy.run_path("example.py", run_name="__main__")
        except BaseException:
            pathlib.Path("error.txt").write_text(traceback.format_exc())
        else:
            pathlib.Path("done.txt").touch()
"""


@pytest.fixture(scope="module")
def examples(programs, demo, tmp_path_factory):
    """The folders in which the examples were run."""
    folders = []
    for block in BLOCKS:
        folders.append(tmp_path_factory.mktemp("example"))
        for task in re.findall(r'"runs/(\w+)-demo"', block):
            shutil.copytree(demo(task), folders[-1] / "runs" / f"{task}-demo")
        for name in re.findall(r'"(\w+\.pth)"', block):
            write_weights(folders[-1] / name)
        for name in re.findall(r'"(\w+\.(?:jpg|png))"', block):
            Image.new("RGB", (70, 90), "gray").save(folders[-1] / name)
        presumed = [
            f"{name} = {value}" for name, value in PRESUMED.items() if name in undefined(block)
        ]
        lines = ("import numpy as np", *presumed, block)
        (folders[-1] / "example.py").write_text("\n".join(lines))
    run(programs / "python", "-c", RUN_ALL, *folders, cwd=folders[0])
    return folders


@pytest.mark.parametrize(
    "number", [pytest.param(i, id=f"{i}: {block.split()[1]}") for i, block in enumerate(BLOCKS)]
)
def test_an_example_of_the_readme_runs(number, examples):
    error = examples[number] / "error.txt"
    assert not error.exists(), error.read_text()
    assert (examples[number] / "done.txt").exists()
