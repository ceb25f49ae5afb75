"""Learning from the real game alone."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from counting import SPECS, CountingEnv
from miniature import MINIATURE
from test_policies import LATENTS, snapshot

from envs.real_games import RealGames
from rl import real_play
from rl.policies import ModulePolicy
from rl.progress import NullProgress
from rl.real_play import Agent, learn_for_real
from rl.settings import RealPlaySettings
from worldmodel.latent.model import LatentWorldModel

PLAY = RealPlaySettings(envs=3, rollout=10, minibatch=12, epochs=1, learning_rate=1e-3)
GOALS = (60, 130)


class Watched(NullProgress):
    """Adds up what is told."""

    def __init__(self):
        self.steps = 0

    @contextmanager
    def phase(self, name, total):
        def advance(n):
            self.steps += n

        yield advance


@contextmanager
def counted():
    """The real steps that are taken within."""
    played, step = [], CountingEnv.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CountingEnv, "step", lambda self, action: (played.append(action), step(self, action))[1])
        yield played


@pytest.fixture(scope="module")
def learned(cluster):
    """Milestones, the real steps that the game had seen at each, and what was told."""
    progress = Watched()
    with counted() as played:
        milestones = learn_for_real(MINIATURE, PLAY, GOALS, progress)
        return [(milestone, len(played)) for milestone in milestones], progress


def test_every_real_step_is_counted_and_the_budget_is_kept(learned):
    told, progress = learned
    assert [milestone.steps for milestone, _ in told] == [played for _, played in told]
    assert progress.steps == told[-1][1]
    for goal, (milestone, _) in zip(GOALS, told, strict=True):
        assert goal <= milestone.steps < goal + max(PLAY.minibatch, PLAY.envs * PLAY.rollout)
    assert told[-1][0].steps < GOALS[-1] + PLAY.minibatch + PLAY.envs
    assert told[0][0].seconds < told[1][0].seconds


def test_a_fresh_agent_sees_frames_whatever_the_dreams_show(learned):
    told, _ = learned
    agent = told[-1][0].agent
    assert MINIATURE.imagine.observation == "latents"
    assert agent.policy.spec.observation == "frames" and agent.eyes is None
    assert (
        agent.policy.spec.observation_space
        == RealGames(
            MINIATURE.game.id, frame_size=MINIATURE.model.frame_size, stack=MINIATURE.imagine.stack
        ).single_observation_space
    )
    assert agent.policy.real_steps == told[-1][0].steps
    ModulePolicy(agent.policy, greedy=True)


def test_the_agent_learns_on_between_milestones(learned):
    (first, _), (second, _) = learned[0]
    for name in ("policy.weight", "value.weight", "encoder.0.0.weight"):
        assert not np.array_equal(first.agent.policy.weights[name], second.agent.policy.weights[name])


def test_an_agent_goes_on_with_its_own_weights_and_eyes(cluster, tmp_path):
    model = LatentWorldModel(MINIATURE.model, SPECS["discrete"])
    model.save_pretrained(tmp_path)
    spec = replace(
        LATENTS,
        observation_shape=model.observation_shape("latents"),
        stack=MINIATURE.imagine.stack,
        encoder_hash=model.encoder_hash(),
    )
    begun = Agent(snapshot(spec), tmp_path)
    still = replace(PLAY, learning_rate=1e-12)
    *_, last = learn_for_real(MINIATURE, still, (20,), NullProgress(), begun)
    assert last.agent.eyes == tmp_path and last.agent.policy.spec == spec
    for name, weight in begun.policy.weights.items():
        np.testing.assert_allclose(last.agent.policy.weights[name], weight, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "rewards", "signs"), [("latent", "sign", True), ("latent", "symlog", False), ("pixel", "symlog", True)]
)
def test_it_is_paid_as_the_dream_pays(family, rewards, signs):
    model = replace(MINIATURE.model, head=replace(MINIATURE.model.head, rewards=rewards))
    settings = replace(MINIATURE, family=family, model=model)
    assert real_play._config(settings, PLAY, None).env_config["sign_rewards"] is signs
