"""What a game is told reaches everybody who plays it."""

from dataclasses import replace

import numpy as np
from miniature import MINIATURE
from playing import SPEC, counted, writer_at

from envs import AtariConfig, RealDreams, Replay
from rl.collector import Collector
from rl.evaluator import Evaluator
from rl.expert import expert_config, scaled_game
from rl.learner import WorldModelLearner
from rl.settings import ExpertSettings, GameSettings

PONG = GameSettings("ALE/Pong-v5", max_steps=5, atari=AtariConfig(full_actions=True, life_loss_ends=True))
GENTLE = GameSettings("LunarLander-v3", kwargs={"continuous": True})


def test_collector_and_evaluator():
    for game, shape in ((PONG, ()), (GENTLE, (2,))):
        collector, evaluator = Collector(game, 32, 1, 0, 0), Evaluator(game, 32, 1, 5)
        assert collector.action_spec() == evaluator._env.action_spec
        assert collector.action_spec().shape == shape
        assert evaluator.evaluate(1, 0).lengths[0] == 5 or game is GENTLE
    assert Collector(PONG, 32, 1, 0, 0).action_spec().sizes == (18,)


def test_expert():
    config = expert_config(ExpertSettings(game=PONG, frame_size=(32, 48)))
    env = scaled_game(num_envs=1, **config.env_config)
    assert env.single_action_space.n == 18
    assert env.single_observation_space.shape == (32, 48, 12)
    assert env.unwrapped._lives_end


def test_the_real_game_in_the_dreams_place():
    dreams = RealDreams(PONG.id, frame_size=32, starts=[Replay(0, np.zeros(0, np.int64))], **PONG.options)
    dreams.reset(seed=0)
    assert dreams.single_action_space.n == 18
    assert [bool(dreams.step(np.array([17]))[3][0]) for _ in range(5)] == [False] * 4 + [True]


def test_the_learner_sees_a_lost_life_as_the_end_if_so_told(tmp_path):
    writer_at(tmp_path).append([counted(3)])
    ends = {}
    for lives_end in (False, True):
        learner = WorldModelLearner(
            replace(MINIATURE.model, frame_size=8), MINIATURE.fit, SPEC, tmp_path, 0, 1, lives_end
        )
        ends[lives_end] = learner._play().steps.terminated.sum()
    assert ends[True] > ends[False] == 1
