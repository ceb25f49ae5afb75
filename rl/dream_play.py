"""Playing a policy in dreams, to be judged and looked at as in the real game."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from envs.neural_vector import NeuralVectorEnv
from rl.players import Glimpse, Player, Players, View
from rl.policies import PolicySnapshot, PolicySpec
from rl.statistics import Evaluation
from worldmodel.spaces import ActionSpec

_REMEMBERED = 4
"""newest observations of a dream's context that a policy sees before its first step, if it does not stack more"""


@dataclass(frozen=True, eq=False)
class DreamGames:
    """Dreams that were played.

    Attributes:
        evaluation: What each of them brought.
        ended: Share of them that ended; the others were cut off by the horizon.
        film: The first of them, uint8 (time, height, width, 3).
    """

    evaluation: Evaluation
    ended: float
    film: NDArray[np.uint8]


def play_dreams(
    world_model: Path, policy: PolicySnapshot, dreams: int, horizon: int, seed: int = 0, greedy: bool = False
) -> DreamGames:
    """Play each of `dreams` dreams once, to its end or for `horizon` steps.

    Args:
        world_model: The world model's folder, with starts in it.
        policy: Who plays.
        dreams: How many, all at a time.
        horizon: Most steps of a dream.
        seed: Seeds every random number.
        greedy: Take the likeliest action, not a sampled one.

    Raises:
        UserError: If the policy does not suit the model, or the folder has no starts.
    """
    spec, stack = policy.spec, remembered(policy.spec)
    envs = NeuralVectorEnv(
        world_model, dreams, observation=spec.observation, stack=stack, horizon=horizon,
        device="cuda" if torch.cuda.is_available() else "cpu", render_mode="rgb_array",
    )  # fmt: skip
    player = dreamer(policy, world_model, envs.action_spec, greedy)
    film: list[NDArray[np.uint8]] = []

    def watch(over: NDArray[np.bool_]) -> None:
        if not over[0]:
            film.append(_first(envs))

    judged, ended = play_once(envs, player, seed, watch)
    return DreamGames(judged, float(ended.mean()), np.stack(film))


def play_once(
    envs: NeuralVectorEnv, player: Player, seed: int, watch: Callable[[NDArray[np.bool_]], None] = lambda over: None
) -> tuple[Evaluation, NDArray[np.bool_]]:
    """Play each dream once, to its end or its horizon: what it brought, and whether it ended.

    Args:
        envs: The dreams.
        player: Who plays; it looks at each of the stacked observations in turn.
        seed: Seeds every random number.
        watch: Called before the first step and after each, with whether a dream was over before it.
    """
    policy, view, stack = player.policy, player.view, envs.stack
    rng, rows = np.random.default_rng(seed), np.arange(envs.num_envs)
    observations, _ = envs.reset(seed=seed)
    view.start(glimpses(observations, stack))
    returns, lengths = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    over, ended = np.zeros(len(rows), np.bool_), np.zeros(len(rows), np.bool_)
    watch(over)
    while not over.all():
        observations, rewards, terminated, truncated, _ = envs.step(policy.act(view.of(rows), rng))
        view.look(Glimpse(np.split(observations, stack, axis=-1)[-1], np.zeros(len(rows), np.bool_)), rows)
        watch(over)
        returns += np.where(over, 0, rewards)
        lengths += ~over
        ended |= terminated & ~over
        over |= terminated | truncated
    return Evaluation(tuple(returns.tolist()), tuple(lengths.tolist())), ended


def dreamer(policy: PolicySnapshot, world_model: Path, spec: ActionSpec, greedy: bool = False) -> Player:
    """A policy that plays in dreams, where latents come as they are, without an encoder.

    Raises:
        UserError: If the policy does not suit the model.
    """
    player = Players(spec).trained(policy, world_model, greedy)
    return player if policy.spec.network == "recurrent" else Player(player.policy, View(policy.spec.stack))


def remembered(spec: PolicySpec) -> int:
    """Newest observations of a context that such a policy is shown before a dream's first step."""
    return max(spec.stack, _REMEMBERED)


def glimpses(stacked: NDArray[Any], stack: int) -> Sequence[Glimpse]:
    """Stacked observations one after another, as those of games of which nothing was seen before.

    A stack that is not full yet repeats a game's first picture; the game begins with the last of these.
    """
    oldest, *later = np.split(stacked, stack, axis=-1)
    told = [Glimpse(oldest, np.ones(len(stacked), np.bool_))]
    for part in later:
        again = (part == told[-1].frames).all(axis=(1, 2, 3))
        told.append(Glimpse(part, told[-1].restarted & again))
    return told


def _first(envs: NeuralVectorEnv) -> NDArray[np.uint8]:
    pictures = envs.render()
    assert pictures is not None
    return pictures[0]
