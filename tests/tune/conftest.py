import pytest
from clusters import ray_on


@pytest.fixture(scope="module")
def two_cpus():
    """Ray on exactly what one trial with one collector asks for."""
    with ray_on(2):
        yield
