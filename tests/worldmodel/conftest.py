"""Small bases, written once."""

import pytest
from bases import write_base

CASES = (
    ("sd1", "kl", "epsilon"),
    ("sd2", "kl", "v_prediction"),
    ("sd2", "tiny", "epsilon"),
    ("sd1", "tiny", "v_prediction"),
)


@pytest.fixture(scope="session")
def base_folders(tmp_path_factory):
    """One base of each kind by (layout, autoencoder, prediction), not to be written to."""
    root = tmp_path_factory.mktemp("bases")
    return {case: write_base(root / "-".join(case), *case) for case in CASES}


@pytest.fixture(params=CASES, ids="-".join)
def base_folder(request, base_folders):
    """Each of them in turn."""
    return base_folders[request.param]
