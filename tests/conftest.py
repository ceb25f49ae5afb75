"""Its place puts `tests` on the path, so that tests in every folder can import `counting`."""

import os

# Workers of pytest-xdist share the cores: with all of them each, torch's threads wait for one another.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // workers, 1)))
