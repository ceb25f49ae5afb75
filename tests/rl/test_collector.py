from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from counting import CountingWorldModel
from test_policies import FRAMES, LATENTS, snapshot

from rl.buffer import BufferWriter
from rl.collector import Collector, Shares
from rl.policies import ExploringPolicy, save_policy
from rl.settings import GameSettings
from rl.under_way import newest_games
from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import WindowSampler, segment
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec

RANDOM = Shares()
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


def delivered(player, steps, number=1, shares=RANDOM, policy=None):
    """What a collector delivers: episodes, and the note that goes with them."""
    episodes, delivery = player.deliver(steps, number, shares, policy, None, 0)
    assert delivery.failure is None
    return episodes, delivery.note


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


def test_policies_think_with_as_many_threads_as_their_collector_is_given():
    before = torch.get_num_threads()
    try:
        collector(threads=before + 1).collect(8, 1, Shares(random=0.0, policy=1.0), snapshot(SEEN))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_a_collector_repeats_itself():
    first, second = collector(), collector()
    for number in (1, 2):
        assert same(first.collect(60, number, Shares()), second.collect(60, number, Shares()))


def test_collectors_calls_rounds_and_seeds_differ():
    played = collector().collect(60, 1, Shares())
    assert not same(played, collector().collect(60, 1, Shares(), delivered=1))
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


def test_an_exploring_agent_acts_at_random_as_often_as_it_is_told_to():
    class Certain:
        version, world_model_version, source = 3, 2, "policy"

        def act(self, observations, rng):
            return np.zeros(len(observations), np.int64)

    spec, rng = ActionSpec.discrete(4), np.random.default_rng(0)
    explorer = ExploringPolicy(Certain(), spec, 0.4)
    actions = explorer.act(np.empty(20_000), rng)
    assert np.allclose(np.bincount(actions) / len(actions), [0.7, 0.1, 0.1, 0.1], atol=0.02)
    assert (explorer.version, explorer.world_model_version, explorer.source) == (3, 2, "policy")
    assert not ExploringPolicy(Certain(), spec, 0.0).act(np.empty(100), rng).any()


def test_an_exploring_agent_has_its_share_beside_the_agent_itself():
    episodes = collector().collect(
        1200, 2, Shares(0.5, 0.0, 0.0, exploring=0.5, epsilon=1.0), policy=snapshot(SEEN, version=9)
    )
    explored = sum(len(episode) for episode in episodes if episode.info.policy_version == 9)
    assert abs(explored / sum(map(len, episodes)) - 0.5) < 0.05


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


@pytest.mark.parametrize("game", ["counting:Counting-v0", "CartPole-v1"])
def test_a_collector_that_was_started_again_goes_on_as_if_nothing_had_been(tmp_path, game):
    """Every piece, from the first on, is played by a new collector that knows nothing but the buffer."""
    steady = Collector(GameSettings(game), 16, 4, 0, 5)
    buffer = BufferWriter(tmp_path, (16, 16, 3), steady.action_spec(), 10_000)
    shares = Shares(0.5, 0.0, 0.5)
    policy = snapshot(replace(SEEN, actions=steady.action_spec(), stack=3))
    for number in (1, 2, 3, 4):
        restarted = Collector(GameSettings(game), 16, 4, 0, 5)
        assert restarted.take_up(tmp_path) == 0
        episodes, note = delivered(restarted, 37, number, shares, policy)
        assert same(episodes, steady.collect(37, number, shares, policy))
        buffer.append(episodes, note)
    assert any(record.info.start for record in BufferReader(tmp_path).episodes)


def test_a_game_whose_beginning_is_gone_begins_anew(tmp_path):
    player = collector()
    buffer = BufferWriter(tmp_path, (16, 16, 3), player.action_spec(), 12)
    notes = []
    for number in (1, 2):
        episodes, note = delivered(player, 12, number)
        buffer.append(episodes, note)
        notes = player._play.under_way
    reader = BufferReader(tmp_path)
    cut = {record.info.seed for record in reader.episodes if record.info.start}
    lost = [game for game in notes if game.seed in cut and not game.over]
    again = collector()
    assert again.take_up(tmp_path) == len(lost) > 0
    seeds = {game.seed for game in lost}
    assert not seeds & {episode.info.seed for episode in again.collect(12, 3, Shares())}


def test_a_game_that_shows_another_picture_begins_anew(tmp_path, monkeypatch):
    player = collector()
    buffer = BufferWriter(tmp_path, (16, 16, 3), player.action_spec(), 1000)
    buffer.append(*delivered(player, 12))
    going_on = sum(not game.over for game in player._play.under_way)
    monkeypatch.setattr("counting.paint", lambda *told: np.full((64, 64, 3), 7, np.uint8))
    assert collector().take_up(tmp_path) == going_on > 0


def test_another_number_of_games_at_a_time_begins_them_anew(tmp_path):
    player = collector()
    buffer = BufferWriter(tmp_path, (16, 16, 3), player.action_spec(), 1000)
    buffer.append(*delivered(player, 12))
    assert Collector(GAME, 16, 3, 0, 5).take_up(tmp_path) == 0


def test_after_a_game_failed_others_begin_and_it_is_not_taken_up_again(tmp_path):
    player = Collector(GameSettings("misbehaving:Raises-v0"), 16, 2, 0, 5)
    buffer = BufferWriter(tmp_path, (16, 16, 3), player.action_spec(), 10_000)
    episodes, delivery = player.deliver(100, 1, Shares(), None, None, 0)
    assert sum(map(len, episodes)) == 2 * 2
    assert "failed in step" in str(delivery.failure)
    buffer.append(episodes, delivery.note)
    assert newest_games(tmp_path, 0) == []
    again, _ = player.deliver(100, 1, Shares(), None, None, 1)
    assert not {e.info.seed for e in again} & {e.info.seed for e in episodes}


def test_a_failure_that_nobody_asked_for_is_told_by_the_next_call():
    player = Collector(GameSettings("misbehaving:Raises-v0"), 16, 2, 0, 5)
    player.collect(100, 1, Shares())
    with pytest.raises(UserError, match="failed in step"):
        player.collect(100, 1, Shares())
