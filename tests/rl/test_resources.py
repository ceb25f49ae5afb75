import pytest

from rl import resources
from rl.resources import Resources
from worldmodel.errors import UserError

NEEDED = Resources(collectors=2, agent_gpus=0.0, learner_gpus=0.5)


def test_a_busy_cluster_is_waited_for(monkeypatch):
    free = [{"CPU": 1.0}, {"CPU": 2.0}, {"CPU": 2.0, "GPU": 1.0}]
    said = []
    monkeypatch.setattr(resources.ray, "available_resources", lambda: free.pop(0))
    monkeypatch.setattr(resources.time, "sleep", lambda seconds: None)
    NEEDED.wait(60, said.append)
    assert said == [
        "waiting for room in the cluster: 2 CPUs are needed, 1 are free, 0.5 GPUs are needed, 0 are free",
        "waiting for room in the cluster: 0.5 GPUs are needed, 0 are free",
    ]


def test_one_that_stays_busy_is_given_up(monkeypatch):
    monkeypatch.setattr(resources.ray, "available_resources", dict)
    with pytest.raises(UserError, match=r"no room within 0 s .*2 CPUs are needed, 0 are free.*--cluster\.patience"):
        NEEDED.wait(0, print)


def test_cores_that_the_process_may_not_use_are_not_counted(monkeypatch):
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert resources.usable_cores() == 3
    monkeypatch.delattr(resources.os, "sched_getaffinity")
    monkeypatch.setattr(resources.os, "cpu_count", lambda: 9)
    assert resources.usable_cores() == 9
