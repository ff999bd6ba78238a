"""The arrows between the packages, and what none of them may import."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOMAINS = ("deeppose_jax", "anomaly_jax", "classify_jax")
PACKAGES = ("launch_jax", *DOMAINS, "convnets_jax", "engine_jax")
# What each may import of the others; configs/ holds values only.
ALLOWED = {
    "engine_jax": {"engine_jax"},
    "convnets_jax": {"convnets_jax", "engine_jax"},
    "deeppose_jax": {"deeppose_jax", "convnets_jax", "engine_jax"},
    "anomaly_jax": {"anomaly_jax", "convnets_jax", "engine_jax"},
    "classify_jax": {"classify_jax", "convnets_jax", "engine_jax"},
    "launch_jax": {"launch_jax", *DOMAINS, "engine_jax"},
    "configs": set(),
}
# Libraries that are likely to change under the project have one importer each.
IMPORTERS = {
    "av": {"engine_jax/video_files.py"},
    "orbax": {"engine_jax/checkpoint.py"},
    "grain": {"engine_jax/stream.py"},
    "tensorflow_datasets": {"engine_jax/tfds_source.py"},
}
FORBIDDEN = {"tensorflow", "torch", "clu"}
# Which devices there are is asked in one place, by the platform of those that are computed on.
DEVICES = {"default_backend", "devices", "local_devices", "device_count", "local_device_count"}


def imports(path):
    """The top-level names of all modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add((node.module or "").partition(".")[0])
    return found


def files():
    return [
        path for folder in (*PACKAGES, "configs") for path in sorted((ROOT / folder).rglob("*.py"))
    ]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_run_one_way(path):
    relative = path.relative_to(ROOT)
    found = imports(path)
    assert not found & FORBIDDEN
    assert found & {*PACKAGES, "configs"} <= ALLOWED[relative.parts[0]]
    for library, importers in IMPORTERS.items():
        if library in found:
            assert str(relative) in importers


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_jax_is_asked_for_devices_in_one_place(path):
    asked = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id == "jax" and node.attr in DEVICES
    }
    assert not asked or path == ROOT / "engine_jax" / "devices.py"


def test_what_is_imported_is_installed():
    """But for what messages ask to be installed, and the importlib_resources of tensorflow-datasets is there too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.split(r"[^\w-]", name)[0].lower() for name in project["dependencies"]}
    used = set().union(*(imports(path) for path in files()))
    used -= {*PACKAGES, "configs", *sys.stdlib_module_names, "av", "tensorboardX"}
    providers = packages_distributions()
    missing = {name for name in used if not required & {found.lower() for found in providers[name]}}
    assert {"flax", "jax", "numpy", "PIL"} <= used
    assert missing == set()
    assert "importlib_resources" in required


@pytest.mark.parametrize("package", DOMAINS)
def test_importing_a_package_is_light(package):
    """It pays for jax and flax, not for plotting, checkpoints or data sets."""
    program = (
        f"import sys, {package}; "
        "print([m for m in ('matplotlib', 'orbax', 'grain', 'tensorflow_datasets', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
