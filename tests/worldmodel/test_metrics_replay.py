from dataclasses import replace

import numpy as np
import pytest
import torch
from counting import read
from playing import SIZE, buffer_of, counted
from replays import CONTEXT, HORIZON, Frozen, Game

from worldmodel.metrics.replay import draw_replay, join_outcomes, replay


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return buffer_of(tmp_path_factory.mktemp("buffer"), [counted(tag) for tag in range(30)])


@pytest.fixture(scope="module")
def windows(reader):
    return draw_replay(reader, CONTEXT, HORIZON, count=60, seed=0)


def test_only_held_out_games_are_judged(reader, windows):
    judged = set(read(reader.frames(windows.frame_ids)).tag.ravel().tolist())
    assert judged and judged <= {1, 11, 21}


def test_the_same_seed_judges_the_same_play(reader, windows):
    again, other = (draw_replay(reader, CONTEXT, HORIZON, count=60, seed=seed) for seed in (0, 1))
    assert np.array_equal(again.frame_ids, windows.frame_ids)
    assert not np.array_equal(other.frame_ids, windows.frame_ids)


def test_the_start_is_shown_as_it_was(reader, windows):
    seen = replay(Game(), reader, windows, seed=0)
    assert torch.equal(seen.dream[:, 0], seen.real[:, 0])
    assert seen.real.shape == seen.dream.shape == seen.ceiling.shape == (60, HORIZON + 1, SIZE, SIZE, 3)
    assert torch.equal(seen.dream[seen.mask], seen.real[seen.mask])
    assert seen.terminated.shape == seen.outcomes.terminated.shape == (60, HORIZON)
    assert torch.equal(seen.terminated & seen.outcomes.terminated, seen.terminated)


def test_rewards_are_those_of_the_same_steps(reader, windows):
    seen = replay(Game(), reader, windows, seed=0)
    there = seen.mask[:, 1:]
    assert torch.equal(seen.rewards[there], seen.outcomes.rewards[there])
    assert len(set(seen.rewards[there].tolist())) > 20


def test_windows_end_with_the_longest_game(reader):
    longest = max(record.length for record in reader.episodes)
    windows = draw_replay(reader, CONTEXT, horizon=500, count=200, seed=0)
    assert CONTEXT < windows.mask.shape[1] <= CONTEXT + longest
    assert windows.mask[:, -1].any()
    assert windows.actions.shape[1] == windows.terminated.shape[1] == windows.mask.shape[1] - 1


def test_teacher_forced_a_dream_goes_on_from_what_was_real(reader, windows):
    seen = replay(Frozen(), reader, windows, seed=0, forced=True)
    there = seen.mask[:, 1:]
    assert torch.equal(seen.dream[:, 1:][there], seen.real[:, :-1][there])
    assert all(torch.equal(seen.known(h), seen.real[:, h - 1]) for h in range(1, HORIZON + 1))


def test_teacher_forced_the_actions_lead_to_their_frames(reader, windows):
    seen = replay(Game(), reader, windows, seed=0, forced=True)
    assert torch.equal(seen.dream[seen.mask], seen.real[seen.mask])
    there = seen.mask[:, 1:]
    assert torch.equal(seen.outcomes.terminated[there], seen.terminated[there])
    assert torch.equal(seen.outcomes.rewards[there], seen.rewards[there])


def test_outcomes_are_joined_in_order(reader, windows):
    _, first = Game().step(*begun(reader, windows))
    joined = join_outcomes([first, replace(first, rewards=first.rewards + 1)])
    assert torch.equal(joined.rewards, torch.cat([first.rewards, first.rewards + 1]))
    assert joined.sign_probabilities is None


def begun(reader, windows):
    """Dreams of the counting game, and the actions that come next."""
    frames = torch.from_numpy(reader.frames(windows.frame_ids))[:, :CONTEXT]
    actions, mask = torch.from_numpy(windows.actions), torch.from_numpy(windows.mask)
    return Game().begin(frames, actions[:, : CONTEXT - 1], mask[:, :CONTEXT]), actions[:, CONTEXT - 1]
