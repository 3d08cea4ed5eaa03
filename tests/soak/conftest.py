import os
import random
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "http"))


@pytest.fixture(scope="session")
def soak(tmp_path_factory):
    """All of it, carried out. SOAK_SECONDS: how long; SOAK_SEED: the same choices as another time, though not at the same moments."""
    from soak import Soak

    seed = int(os.environ.get("SOAK_SEED") or time.time())
    soak = Soak(tmp_path_factory.mktemp("soak"), random.Random(seed))
    try:
        soak.run(float(os.environ.get("SOAK_SECONDS") or 15))
        yield soak
    finally:
        print(f"\nSOAK_SEED={seed}; what happened:", *(f"{count:8} {what}" for what, count in sorted(soak.seen.items())), sep="\n")
        soak.kill()
