import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
from counting import CountingWorldModel
from test_policies import FRAMES, LATENTS, snapshot

from rl.buffer import BufferActor, BufferWriter
from rl.collector import Collector, CollectorActor, Shares
from rl.policies import save_policy
from rl.settings import GameSettings
from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import WindowSampler, segment
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec

GAME = GameSettings("counting:Counting-v0")
SEEN = replace(FRAMES, observation_shape=(16, 16, 3))
ENCODED = replace(LATENTS, observation_shape=(1, 1, 3))


def collector(index=0, seed=5, **arguments):
    return Collector(GAME, 16, 4, index, seed, **arguments)


def same(left, right):
    return len(left) == len(right) and all(
        a.info == b.info and np.array_equal(a.frames, b.frames) and np.array_equal(a.actions, b.actions)
        for a, b in zip(left, right, strict=True)
    )


def test_what_is_collected_keeps_the_convention_for_time_all_the_way_to_the_loss(tmp_path):
    player = collector()
    buffer = BufferWriter(tmp_path, (16, 16, 3), player.action_spec(), 10_000)
    for number in (1, 2, 3):
        buffer.append(player.collect(150, number, Shares()))
    reader = BufferReader(tmp_path)
    windows = WindowSampler(reader, 4, 3, "all").sample(500, np.random.default_rng(0))
    assert windows.terminated.any()
    losses = CountingWorldModel(4, 16).losses(segment(reader, windows))
    assert {name: float(loss) for name, loss in losses.items()} == dict.fromkeys(losses, 0.0)


def test_a_collector_repeats_itself():
    first, second = collector(), collector()
    for number in (1, 2):
        assert same(first.collect(60, number, Shares()), second.collect(60, number, Shares()))


def test_collectors_calls_rounds_and_seeds_differ():
    played = collector().collect(60, 1, Shares())
    assert not same(played, collector().collect(60, 1, Shares(), asked=60))
    for other in (collector(index=1), collector(seed=6)):
        assert not same(played, [replace(e, info=replace(e.info, collector=0)) for e in other.collect(60, 1, Shares())])
    later = collector().collect(60, 2, Shares())
    assert not same(played, [replace(e, info=replace(e.info, round=1)) for e in later])


def test_the_sources_have_their_shares(tmp_path):
    save_policy(tmp_path / "expert", snapshot(SEEN))
    player = collector(expert=tmp_path / "expert")
    episodes = player.collect(1200, 2, Shares(0.25, 0.25, 0.5), policy=snapshot(SEEN, version=9))
    steps = dict.fromkeys(("random", "expert", "policy"), 0)
    for episode in episodes:
        steps[episode.info.source] += len(episode)
    assert np.allclose(np.array(list(steps.values())) / sum(steps.values()), [0.25, 0.25, 0.5], atol=0.05)
    versions = {(e.info.source, e.info.policy_version, e.info.world_model_version) for e in episodes}
    assert versions == {("random", 0, 0), ("expert", 7, 2), ("policy", 9, 2)}


def test_a_policy_on_latents_sees_through_its_own_encoder_only(monkeypatch):
    monkeypatch.setattr("worldmodel.families.load_world_model", lambda folder: CountingWorldModel(4, 16))
    folder, shares = Path("world_model"), Shares(0.0, 0.0, 1.0)
    assert collector().collect(40, 2, shares, snapshot(ENCODED), folder)
    with pytest.raises(UserError, match="another encoder"):
        collector().collect(40, 2, shares, snapshot(replace(ENCODED, encoder_hash="other")), folder)
    with pytest.raises(UserError, match="give the world model"):
        collector().collect(40, 2, shares, snapshot(ENCODED))


def test_a_policy_of_another_game_is_refused():
    with pytest.raises(UserError, match="7 actions"):
        collector().collect(40, 2, Shares(0.0, 0.0, 1.0), snapshot(replace(SEEN, actions=ActionSpec.discrete(7))))


def test_shares_must_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        Shares(0.5, 0.0, 0.2)
    with pytest.raises(ValueError, match="must be given"):
        collector().collect(40, 2, Shares(0.5, 0.0, 0.5))


def end(pid):
    """Kill a process and see it gone: `ray.kill` returns sooner, and the next call may still reach the old actor."""
    os.kill(pid, signal.SIGKILL)
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the process did not end")


def test_what_a_collector_returned_survives_its_death_and_it_plays_again(tmp_path, cluster):
    actor = CollectorActor.remote(GameSettings("CartPole-v1"), 16, 2, 0, 0)
    buffer = BufferActor.remote(tmp_path, (16, 16, 3), ActionSpec.discrete(2), 1000)
    played = actor.collect.remote(30, 1, Shares())
    ray.wait([played], timeout=60)
    end(ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=60))
    again = actor.collect.remote(30, 1, Shares())
    statuses = [ray.get(buffer.append.remote(episodes), timeout=60) for episodes in (played, again)]
    assert same(ray.get(played), ray.get(again))
    assert [status.chunks for status in statuses] == [1, 2]
    assert BufferReader(tmp_path).num_steps == statuses[-1].steps
