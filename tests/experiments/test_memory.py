from dataclasses import replace
from types import SimpleNamespace

import pytest

from experiments import memory
from experiments.memory import scarce_memory
from rl.settings import ClusterSettings, Settings


def sentences(monkeypatch, shared, free, **cluster):
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda path: SimpleNamespace(free=shared * 1_000_000))
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=free * 1_000_000))
    return scarce_memory(replace(Settings(), cluster=ClusterSettings(**cluster)))


@pytest.mark.parametrize(("shared", "free", "words"), [(64, 9000, "--shm-size"), (1000, 1500, "--collect.collectors")])
def test_too_little_memory_is_told(monkeypatch, shared, free, words):
    (sentence,) = sentences(monkeypatch, shared, free)
    assert words in sentence


def test_enough_memory_or_somebody_elses_is_nothing_to_tell(monkeypatch):
    assert sentences(monkeypatch, 1000, 9000) == []
    assert sentences(monkeypatch, 0, 0, address="there:6379") == []
