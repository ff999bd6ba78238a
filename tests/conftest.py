import gc
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

# Compilation is most of what the tests take, and LLVM's optimisations are most of that; here and in
# the programs that tests start. JAX reads these when it is imported.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if version("jaxlib").startswith("0.10."):  # Others end at a flag that they don't know.
    FASTER = "--xla_cpu_use_fusion_emitters=false"  # to compile, by a third
    # And by a tenth, since each core has a worker of its own.
    FASTER += " --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FASTER}".strip()
# Many tests and the programs that they start compile the same; what takes less is compiled sooner than read.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache/jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jaxtyping

from tests import array_types
from tests.platform_forms import computed_as_on

# Files of tests that collect garbage, which takes long once other tests have left many objects; then those of a few
# long tests, the longest first: begun at the end they would leave all workers but one idle.
LONG = (
    "test_checkpoint.py",
    "test_loop.py",
    "test_train.py",
    "test_stage_training.py",
    "test_wheel.py",
    "test_soak_interruptions.py",
    "test_own_data.py",
    "test_train_from_files.py",
    "test_stages.py",
    "test_warm_start.py",
    "test_presets.py",
    "test_framing.py",
    "test_pretrained.py",
)

PACKAGES = ("anomaly_jax", "classify_jax", "convnets_jax", "deeppose_jax", "engine_jax")
jaxtyping.install_import_hook(PACKAGES, f"{array_types.__name__}.checked")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest first; each keeps its order."""
    order = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONG)))


def pytest_collection_finish() -> None:
    """Garbage is looked for seldom: looking through all that tracing makes and keeps took a tenth of the time."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.fixture(scope="module", autouse=True)
def traced_anew():
    """No file sees a network that another one traced under a name for which it had put a smaller one."""
    from engine_jax.state import forget_traced

    forget_traced()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets that REAL_DATA names."""
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip(
            "REAL_DATA is unset: set it to a folder that holds lsp/, lspet/, mvtec/ and published/"
        )
    return Path(folder)


@pytest.fixture
def real_weights(real_data) -> Callable[[str], Path]:
    """The path of a file of published weights, in the folder `weights` beside that of the data sets."""

    def find(name: str) -> Path:
        path = real_data.parent / "weights" / name
        if not path.is_file():
            pytest.skip(f"there is no {path}")
        return path

    return find


@pytest.fixture(params=("default", "tpu"))
def each_form(request):
    """Runs a test with what is computed on a CPU or GPU, and with what is computed on a TPU."""
    with computed_as_on(request.param):
        yield


@pytest.fixture
def unchecked_shapes():
    """Leaves arrays of wrong shapes to the functions' own checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
