from dataclasses import replace

import numpy as np
import pytest
import torch
from counting import NUM_ACTIONS, CountingWorldModel, length_of, read, reward_of
from pixel_dreams import FRAMES, RECURRENT, world_model
from pixel_dreams import policy as tiny_policy
from test_collector import ENCODED, GAME, SEEN
from test_policies import biased, snapshot

from rl import promise
from rl.players import Player, View
from rl.promise import Promises, ReturnCurve
from rl.real_moments import RealPlay, play_for_real
from worldmodel.errors import UserError
from worldmodel.families import load_world_model

SIZE, CONTEXT, HORIZON = 16, 4, 6


def promises(folder, model=None, **changes):
    settings = {"horizon": HORIZON, "moments": 40, "seed": 3} | changes
    return Promises(GAME, folder, model or CountingWorldModel(CONTEXT, SIZE), **settings)


def play(folder, steps=60, policy=None):
    policy = policy or snapshot(SEEN)
    return play_for_real(GAME, folder, policy, (SIZE, SIZE), 3, steps, np.random.default_rng(0))


class Flatterer(CountingWorldModel):
    """Pays 1 more than the game at every other step."""

    def step(self, dream, actions, generator=None):
        after, outcome = super().step(dream, actions, generator)
        outcome.rewards[(dream.count % 2 == 1)] += 1
        return after, outcome


@pytest.mark.parametrize("action", range(NUM_ACTIONS))
def test_a_perfect_dream_promises_what_the_game_keeps(tmp_path, action):
    kept = promises(tmp_path).ask("always", biased(SEEN, 99.0 * np.eye(NUM_ACTIONS)[action]), 3, 60)
    assert kept.real == kept.replayed == kept.dreamed
    assert kept.paired.pearson == pytest.approx(1) and kept.paired.chance < 0.01
    assert kept.horizons == (2, 3, 5, 6)
    assert len(kept.real.means) == 4 and list(kept.real.means) == sorted(kept.real.means)
    assert kept.real.low < kept.real.means[-1] < kept.real.high


def test_what_is_paired_shares_no_step(tmp_path):
    """Returns of moments that overlap are alike, and random pairings of them would correlate too seldom."""
    kept = promises(tmp_path, moments=500).ask("by chance", snapshot(SEEN), 3, 60)
    assert 3 < kept.paired.pairs <= 3 * 60 / HORIZON


def test_in_a_perfect_dream_the_same_actions_bring_the_same(tmp_path):
    kept = promises(tmp_path).ask("by chance", snapshot(SEEN), 3, 60)
    assert kept.real == kept.replayed
    assert kept.dreamed.means[-1] == pytest.approx(kept.real.means[-1], rel=0.1)


def test_a_dream_that_flatters_is_found_out(tmp_path):
    kept = promises(tmp_path, Flatterer(CONTEXT, SIZE)).ask("by chance", snapshot(SEEN), 3, 60)
    assert kept.replayed.means[-1] - kept.real.means[-1] == pytest.approx(HORIZON / 2, abs=1)


class Still(CountingWorldModel):
    """Never moves on, and so pays every step what it pays the first."""

    def step(self, dream, actions, generator=None):
        _, outcome = super().step(dream, actions, generator)
        return dream, outcome


def test_a_frozen_dream_is_found_out(tmp_path):
    kept = promises(tmp_path, Still(CONTEXT, SIZE)).ask("by chance", snapshot(SEEN), 3, 60)
    assert kept.real.low <= kept.replayed.means[-1] <= kept.real.high, "its mean alone would not tell"
    assert kept.paired.pearson < 0.9


class Deaf(CountingWorldModel):
    """Tells of every dream what another one brings."""

    def step(self, dream, actions, generator=None):
        after, outcome = super().step(dream, actions, generator)
        return after, replace(outcome, rewards=outcome.rewards.roll(1, 0), terminated=outcome.terminated.roll(1, 0))


def test_a_dream_of_other_moments_pays_the_same_on_average_and_not_moment_by_moment(tmp_path):
    kept = promises(tmp_path, Deaf(CONTEXT, SIZE)).ask("by chance", snapshot(SEEN), 3, 60)
    assert kept.replayed.means[-1] == pytest.approx(kept.real.means[-1], rel=0.1)
    assert kept.paired.pearson < 0.5 and kept.paired.chance > 0.01


def test_a_dream_that_pays_signs_is_held_against_signs(tmp_path):
    kept = promises(tmp_path, signs_alone=True).ask("always", biased(SEEN, [0.0, 99.0, 0.0]), 3, 60)
    # Every step is paid something, until the game ends.
    assert 0 < kept.real.means[0] <= 2 and kept.real.means[-1] <= HORIZON
    assert kept.dreamed.means[-1] > HORIZON


class Watcher:
    """Acts as it is told by the count that it sees, and remembers what it saw."""

    def __init__(self):
        self.seen = []

    def act(self, observations, rng):
        self.seen.append(read(observations[..., -3:]))
        return self.seen[-1].count % 2 * 2


def test_in_the_dream_the_agent_acts_by_what_the_dream_shows_it(tmp_path, monkeypatch):
    """An agent that watched the real game on, or looked too late, would do other things."""
    watcher = Watcher()
    monkeypatch.setattr(promise, "dreamer", lambda *_: Player(watcher, View(1)))
    kept = promises(tmp_path).ask("watcher", biased(SEEN, [99.0, 0.0, 0.0]), 3, 60)
    first = watcher.seen[0]
    for step, told in enumerate(watcher.seen):
        assert (told.count == first.count + step).all() and (told.tag == first.tag).all()
        if step:
            assert (told.action == watcher.seen[step - 1].count % 2 * 2).all()
    assert len(watcher.seen) == HORIZON
    # In the game it did nothing; what it does in the dream is paid there alone.
    assert kept.replayed == kept.real
    assert 2 < kept.dreamed.means[-1] - kept.real.means[-1] <= HORIZON


def test_latents_are_seen_through_the_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr("worldmodel.families.load_world_model", lambda folder: CountingWorldModel(CONTEXT, SIZE))
    policy = snapshot(replace(ENCODED, encoder_hash="counting"))
    kept = promises(tmp_path).ask("latents", policy, 3, 60)
    assert kept.real == kept.replayed


@pytest.mark.parametrize("spec", [FRAMES, RECURRENT], ids=lambda spec: spec.network)
def test_every_kind_of_agent_and_model_can_be_asked(tmp_path, spec):
    folder = world_model(tmp_path / "model")
    asked = Promises(GAME, folder, load_world_model(folder).eval(), horizon=3, moments=5)
    first, again = (asked.ask("tiny", tiny_policy(spec), 2, 20) for _ in range(2))
    assert first == again


def test_play_that_is_too_short_is_refused(tmp_path):
    with pytest.raises(UserError, match="5 real steps a game hold no 6 to dream: play longer"):
        promises(tmp_path).ask("hasty", snapshot(SEEN), 3, 5)


def test_moments_are_spread_over_games_and_none_is_past_an_end(tmp_path):
    played = play(tmp_path)
    time, game = played.moments(400, HORIZON, np.random.default_rng(0))
    told = read(played.frames[time, game])
    assert (told.count < length_of(told.tag)).all()
    assert time.max() == 60 - HORIZON and time.min() == 0
    assert len({(int(tag), int(g)) for tag, g in zip(told.tag, game, strict=True)}) > 4
    assert 0 in told.count and (told.count == length_of(told.tag) - 1).any()


def test_what_lies_ahead_ends_with_the_game(tmp_path):
    played = play(tmp_path)
    time, game = played.moments(100, HORIZON, np.random.default_rng(0))
    actions, rewards = played.ahead(time, game, HORIZON)
    told = read(played.frames[time, game])
    step = np.arange(HORIZON)
    count = told.count[:, None] + step
    expected = np.where(count < length_of(told.tag)[:, None], reward_of(count, actions), 0)
    np.testing.assert_array_equal(rewards, expected)
    assert (expected == 0).any()


def test_contexts_are_those_of_the_game_that_is_on(tmp_path):
    played = play(tmp_path)
    time, game = played.moments(200, HORIZON, np.random.default_rng(0))
    starts = played.starts(time, game, CONTEXT)
    # The counting model refuses what does not belong together.
    told = (torch.from_numpy(array) for array in (starts.frames, starts.actions, starts.mask))
    CountingWorldModel(CONTEXT, SIZE).begin(*told)
    counted = read(starts.frames[:, -1]).count
    np.testing.assert_array_equal(starts.mask.sum(1), np.minimum(counted + 1, CONTEXT))


def test_games_that_follow_each_other_at_once_are_told_apart():
    over = np.array([[0], [1], [0], [1], [0], [0]], np.bool_)
    frames = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1, 1)
    played = RealPlay(frames, np.zeros((6, 1), np.int64), np.ones((6, 1), np.float32), over, np.zeros_like(over))
    assert played.begun[:, 0].tolist() == [0, 0, 0, 3, 3, 5, 5]


def test_no_moment_is_followed_by_a_limit_of_time_before_the_game_ends_or_the_horizon():
    over = np.array([[0], [0], [1], [0], [0], [1], [0], [0]], np.bool_)
    cut = over & (np.arange(8) == 5)[:, None]
    played = RealPlay(np.zeros((9, 1, 1, 1, 1), np.uint8), np.zeros((8, 1), np.int64), np.ones((8, 1)), over, cut)
    time, _ = played.moments(100, 2, np.random.default_rng(0))
    # 3 and 6 begin games; from 4 and 5 on the second is cut off.
    assert set(time) == {0, 1, 2}
    always = np.ones_like(over)
    with pytest.raises(UserError, match=r"cut off within 2 steps: raise --game\.max-steps"):
        RealPlay(played.frames, played.actions, played.rewards, always, always).moments(1, 2, np.random.default_rng(0))


def test_a_course_by_hand():
    curve = ReturnCurve.of(np.array([[1, 2, 0, 1], [0, 0, 0, 2]], np.float32), (2, 4))
    assert curve.means == (1.5, 3.0)
    assert (curve.low, curve.high) == (2.0, 4.0)
