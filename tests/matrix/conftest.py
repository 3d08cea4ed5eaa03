import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "http"))

from lib.fixtures import gateway, shared, start, upstream  # noqa: E402, F401


@pytest.fixture(scope="session")
def library():
    """The look-up of names for the gateways of these tests, built from names.c."""
    path = Path(os.environ.get("MATRIX_NAMES") or HERE.parents[1] / "build/matrix/names.so").resolve()
    assert path.exists(), f"{path} is not built: make {path}"
    return path


@pytest.fixture(scope="session")
def matrix(request, library, tmp_path_factory):
    """All cells that were asked for, carried out."""
    import runner

    cells = [item.callspec.params["cell"] for item in request.session.items if "cell" in getattr(item, "fixturenames", ())]
    matrix = runner.Matrix(cells, tmp_path_factory.mktemp, library)
    try:
        matrix.run()
        yield matrix
    finally:
        problems = matrix.stop()
    assert not problems, problems
