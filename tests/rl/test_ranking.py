from dataclasses import replace

import numpy as np
import pytest
import torch
from counting import NUM_ACTIONS, CountingWorldModel, length_of, paint, reward_of
from pixel_dreams import FRAMES, RECURRENT, policy, world_model
from playing import SPEC
from test_collector import GAME, SEEN
from test_policies import LATENTS, biased, snapshot

from envs.neural_vector import NeuralVectorEnv
from rl import ranking
from rl.correlation import correlate
from rl.dream_play import play_once
from rl.evaluator import Evaluator
from rl.players import Player, View
from rl.policies import RandomPolicy
from rl.ranking import Arena, Contender, Standing, untrained
from rl.statistics import Evaluation
from worldmodel import families
from worldmodel.data.starts import Starts
from worldmodel.errors import UserError

SIZE, CONTEXT, GAMES, SHORTEST = 16, 4, 12, 8


def beginnings(tags):
    """The first frames of games, as dreams begin from them."""
    mask = np.tile(np.arange(CONTEXT) == CONTEXT - 1, (len(tags), 1))
    frames = paint(np.zeros_like(mask, np.int64), -1, np.asarray(tags)[:, None], SIZE)
    return Starts.of(frames, np.zeros((len(tags), CONTEXT - 1), np.int64), mask)


def always(action):
    """A contender that always does this."""
    return Contender(f"always {action}", biased(SEEN, 9.0 * np.eye(NUM_ACTIONS)[action]))


@pytest.fixture(autouse=True)
def counting_model(monkeypatch):
    monkeypatch.setattr(ranking, "load_world_model", lambda folder: CountingWorldModel(CONTEXT, SIZE))


@pytest.fixture
def arena(tmp_path):
    return Arena(GAME, tmp_path, beginnings(range(0, 200, 10)), games=GAMES, horizon=SHORTEST, seed=0)


def dreams(tags, horizon):
    return NeuralVectorEnv(
        CountingWorldModel(CONTEXT, SIZE),
        GAMES,
        observation="latents",
        stack=1,
        horizon=horizon,
        starts=beginnings(tags),
    )


def test_in_a_perfect_dream_all_reach_what_they_reach_in_the_real_game(arena):
    standings = [arena.meet(always(action)) for action in range(NUM_ACTIONS)]
    for action, standing in enumerate(standings):
        # No game is over before it is cut.
        reached = sum(reward_of(count, action) for count in range(SHORTEST))
        assert standing.real.returns == standing.dreamed.returns == (reached,) * GAMES
        assert standing.real.lengths == standing.dreamed.lengths == (SHORTEST,) * GAMES
        assert standing.gap == 0
    told = correlate([s.dreamed.mean for s in standings], [s.real.mean for s in standings])
    assert told.pearson == pytest.approx(1)
    assert told.spearman == pytest.approx(1, abs=1e-5)


def test_random_play_and_latents_are_dreamed_too(arena):
    random = arena.meet(Contender("random"))
    assert len(set(random.dreamed.returns)) > 1
    assert random.dreamed.mean == pytest.approx(random.real.mean, abs=4)


def test_a_dream_that_ends_is_over():
    judged, ended = play_once(dreams([0, 5], 100), Player(Lefty(), View()), seed=0)
    assert ended.all()
    assert set(judged.lengths) == {length_of(0), length_of(5)}
    for length, reached in zip(judged.lengths, judged.returns, strict=True):
        assert reached == sum(reward_of(count, 1) for count in range(length))


class Lefty:
    def act(self, observations, rng):
        return np.ones(len(observations), np.int64)


def test_the_same_seed_dreams_the_same_games():
    player = Player(RandomPolicy(SPEC), View())
    first, again, other = (play_once(dreams(range(20), 20), player, seed)[0] for seed in (0, 0, 1))
    assert first == again != other


def test_a_policy_with_other_eyes_is_refused(arena, monkeypatch):
    monkeypatch.setattr(Evaluator, "evaluate", lambda *given: Evaluation((1.0,), (1,)))
    monkeypatch.setattr(families, "load_world_model", lambda folder: CountingWorldModel(CONTEXT, SIZE))
    stranger = Contender("round 1", snapshot(replace(LATENTS, encoder_hash="other")))
    with pytest.raises(UserError, match="trained with another encoder"):
        arena.meet(stranger)


@pytest.mark.parametrize("spec", [FRAMES, RECURRENT], ids=lambda spec: spec.network)
def test_every_kind_of_agent_meets(tmp_path, monkeypatch, spec):
    monkeypatch.setattr(ranking, "load_world_model", families.load_world_model)
    folder = world_model(tmp_path / "model")
    arena = Arena(GAME, folder, beginnings(range(5)), games=3, horizon=SHORTEST, seed=0)
    assert arena.meet(Contender("tiny", policy(spec))) == arena.meet(Contender("tiny", policy(spec)))


def test_an_untrained_policy_is_the_same_for_the_same_seed():
    first, again, other = (untrained(SEEN, seed).weights for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not all(np.array_equal(first[name], other[name]) for name in first)


def test_making_one_changes_nobodys_random_numbers():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    untrained(SEEN, 0)
    assert torch.equal(torch.rand(3), expected)


def test_the_gap_is_what_the_dream_pays_more():
    assert Standing("", Evaluation((1.0, 3.0), (1, 1)), Evaluation((5.0,), (1,))).gap == 3.0


def test_correlations_by_hand():
    told = correlate([1, 2, 3, 10], [1, 3, 2, 4])
    one, other = np.array([-3, -2, -1, 6]), np.array([-1.5, 0.5, -0.5, 1.5])
    assert told.pearson == pytest.approx((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()), abs=1e-6)
    assert told.spearman == pytest.approx(0.8, abs=1e-5)


def test_chance_is_the_share_of_pairings_that_do_as_well():
    assert correlate([1, 2, 3, 4], [10, 20, 30, 40]).chance == pytest.approx(1 / 24)
    assert correlate([1, 2, 3, 4], [4, 3, 2, 1]).chance == 1
    many = np.arange(12.0)
    assert correlate(many, many).chance < 0.01
    assert correlate(many, np.random.default_rng(3).permutation(many)).chance > 0.2


def test_a_frozen_dream_or_too_few_players_tell_nothing():
    for dreamed, real in (([5, 5, 5], [1, 2, 3]), ([1, 2, 3], [5, 5, 5]), ([1, 2], [1, 2])):
        assert correlate(dreamed, real).pearson is None
