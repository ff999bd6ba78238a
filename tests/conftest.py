import os
from pathlib import Path

import pytest

# Compilation is most of what the tests take, and LLVM's optimisations are most of that; here and in
# the programs that tests start.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets that REAL_DATA names."""
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip(
            "REAL_DATA is unset: set it to a folder that holds lsp/, lspet/, mvtec/ and published/"
        )
    return Path(folder)
