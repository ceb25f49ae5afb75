import numpy as np
import pytest
from counting import CountingEnv, length_of, reward_of
from test_collector import GAME, SEEN
from test_play import Witness, check_stacks
from test_policies import biased

from rl.evaluator import Evaluator, limited_game
from rl.players import Player, View
from rl.settings import GameSettings
from rl.statistics import Evaluation, bootstrap_interval
from worldmodel.errors import UserError

EPISODES, SEED = 23, 11


def evaluate(envs, **arguments):
    return Evaluator(GAME, 16, envs, 1000).evaluate(EPISODES, SEED, **arguments)


@pytest.mark.parametrize("envs", [1, 4, 23, 30])
def test_every_game_that_its_seed_names_counts_once(envs):
    seeds = np.random.default_rng([SEED, 0]).integers(2**31, size=EPISODES)
    lengths = []
    for seed in seeds:
        game = CountingEnv()
        game.reset(seed=int(seed))
        lengths.append(length_of(game.tag))
    judged = evaluate(envs)
    assert list(judged.lengths) == lengths
    assert judged.steps == sum(lengths)


def test_returns_are_the_sums_of_rewards():
    judged = evaluate(4, policy=biased(SEEN, [0, 0, 5]))
    assert list(judged.returns) == [reward_of(np.arange(length), 2).sum() for length in judged.lengths]


def test_greedy_is_a_choice():
    policy = biased(SEEN, [0.0, 0.0, 0.5])
    assert evaluate(4, policy=policy).returns != evaluate(4, policy=policy, greedy=False).returns


def test_an_evaluator_repeats_itself():
    evaluator = Evaluator(GAME, 16, 4, 1000)
    first = evaluator.evaluate(EPISODES, SEED)
    assert evaluator.evaluate(EPISODES, SEED) == first
    assert evaluator.evaluate(EPISODES, SEED + 1) != first


def test_the_policy_sees_one_game_at_a_time(monkeypatch):
    witness = Witness()
    monkeypatch.setattr("rl.players.Players.random", lambda players: Player(witness, View(stack=4)))
    evaluate(4)
    check_stacks(witness)


def test_a_bootstrap_interval_holds_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).exponential(size=(200, 60))
    intervals = [bootstrap_interval(row, resamples=500, seed=i) for i, row in enumerate(draws)]
    held = np.mean([low <= 1.0 <= high for low, high in intervals])
    assert 0.87 <= held <= 0.99


def test_a_wider_interval_for_more_confidence():
    values = np.random.default_rng(0).normal(size=30)
    low, high = bootstrap_interval(values)
    wide_low, wide_high = bootstrap_interval(values, confidence=0.99)
    assert wide_low < low < values.mean() < high < wide_high
    assert bootstrap_interval([3.0, 3.0]) == (3.0, 3.0)


def test_an_evaluation_sums_itself_up():
    judged = Evaluation((1.0, 2.0, 6.0), (4, 5, 6))
    assert (judged.mean, judged.steps) == (3.0, 15)
    assert judged.interval == bootstrap_interval((1.0, 2.0, 6.0))


def test_a_game_that_never_ends_is_cut_off():
    judged = Evaluator(GameSettings("misbehaving:Walk-v0"), 16, 2, longest=9).evaluate(3, SEED)
    assert judged.lengths == (9, 9, 9)


def test_a_game_with_a_limit_keeps_it():
    for game in (GameSettings("CartPole-v1"), GameSettings("ALE/Pong-v5"), GameSettings("misbehaving:Walk-v0", 5)):
        assert limited_game(game, 9) == game


def test_a_game_that_fails_while_it_is_judged_is_told():
    with pytest.raises(
        UserError, match=r"misbehaving:Raises-v0 failed in step\([01]\) at step 3 of the game with seed"
    ):
        Evaluator(GameSettings("misbehaving:Raises-v0"), 16, 2, longest=9).evaluate(3, SEED)
