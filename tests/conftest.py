import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets that REAL_DATA names."""
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip("REAL_DATA is unset: set it to a folder that holds lsp/, lspet/ and published/")
    return Path(folder)
