"""Small bases, written once."""

import pytest
from bases import write_base

QUICK = (("sd2", "kl", "v_prediction"), ("sd1", "tiny", "v_prediction"))
SLOW = (("sd1", "kl", "epsilon"), ("sd2", "tiny", "epsilon"))
"""whatever holds for every base is tested on these by `-m slow`"""
CASES = [pytest.param(case, id="-".join(case)) for case in QUICK]
CASES += [pytest.param(case, id="-".join(case), marks=pytest.mark.slow) for case in SLOW]


@pytest.fixture(scope="session")
def base_folders(tmp_path_factory):
    """One base of each kind by (layout, autoencoder, prediction), not to be written to."""
    root = tmp_path_factory.mktemp("bases")
    return {case: write_base(root / "-".join(case), *case) for case in QUICK + SLOW}


@pytest.fixture(params=CASES)
def base_folder(request, base_folders):
    """Each of them in turn."""
    return base_folders[request.param]
