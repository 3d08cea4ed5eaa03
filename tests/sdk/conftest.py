import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "http"))

from lib.fixtures import gateway, shared, start, upstream  # noqa: E402, F401
