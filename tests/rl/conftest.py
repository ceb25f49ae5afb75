import pytest
from clusters import ray_on


@pytest.fixture(scope="session")
def cluster():
    """Ray on four logical CPUs, for all tests that need it."""
    with ray_on(4):
        yield
