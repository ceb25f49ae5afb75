"""Whether the dream ranks players as the real game does: the returns of the same policies in both."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from envs.neural_vector import NeuralVectorEnv
from rl.dream_play import dreamer, play_once, remembered
from rl.evaluator import Evaluator
from rl.players import Player, View
from rl.policies import PolicySnapshot, PolicySpec, RandomPolicy, load_policy
from rl.run_folder import finished_rounds
from rl.settings import GameSettings
from rl.statistics import Evaluation
from worldmodel.data.starts import Starts
from worldmodel.families import load_world_model
from worldmodel.spaces import Observation

_ENVS = 8


@dataclass(frozen=True, eq=False)
class Contender:
    """Somebody who plays both the dream and the real game.

    Attributes:
        name: As a person reads it.
        policy: Who plays; None: at random.
        greedy: Whether it takes the likeliest action, not a sampled one.
    """

    name: str
    policy: PolicySnapshot | None = None
    greedy: bool = True


@dataclass(frozen=True)
class Standing:
    """What a contender reached."""

    name: str
    real: Evaluation
    dreamed: Evaluation

    @property
    def gap(self) -> float:
        """How much more the dream pays than the real game, in mean returns."""
        return self.dreamed.mean - self.real.mean


class Arena:
    """The real game and the dream of it, each begun at the game's beginning and cut at the same horizon."""

    def __init__(
        self,
        game: GameSettings,
        world_model: Path,
        starts: Starts,
        *,
        games: int,
        horizon: int,
        seed: int,
        device: str | torch.device = "cpu",
    ) -> None:
        """Open both.

        Args:
            game: The real game.
            world_model: Folder of the world model.
            starts: Beginnings of real games, from which dreams begin.
            games: How many games each contender plays, in each.
            horizon: Steps after which a game is cut off.
            seed: Same seed, same games, for every contender.
            device: Where to dream.
        """
        self._folder, self._starts = world_model, starts
        self._games, self._horizon, self._seed = games, horizon, seed
        self._model = load_world_model(world_model).to(device).eval()
        self._device = device
        cut = replace(game, max_steps=min(horizon, game.max_steps or horizon))
        height, width, _ = self._model.frame_shape
        self._evaluator = Evaluator(cut, (height, width), min(games, _ENVS))

    def meet(self, contender: Contender) -> Standing:
        """Let a contender play.

        Raises:
            UserError: If it has other actions, or sees through another encoder.
        """
        real = self._evaluator.evaluate(self._games, self._seed, contender.policy, self._folder, contender.greedy)
        dreamed, _ = play_once(*self._dream(contender), self._seed)
        return Standing(contender.name, real, dreamed)

    def _dream(self, contender: Contender) -> tuple[NeuralVectorEnv, Player]:
        spec = self._model.action_spec
        if contender.policy is None:
            # Who looks at nothing needs nothing decoded.
            return self._dreams("latents", 1), Player(RandomPolicy(spec), View())
        sees = contender.policy.spec
        player = dreamer(contender.policy, self._folder, spec, contender.greedy)
        return self._dreams(sees.observation, remembered(sees)), player

    def _dreams(self, observation: Observation, stack: int) -> NeuralVectorEnv:
        return NeuralVectorEnv(
            self._model,
            self._games,
            observation=observation,
            stack=stack,
            horizon=self._horizon,
            starts=self._starts,
            device=self._device,
        )


def contenders(run: Path, seed: int) -> list[Contender]:
    """Players of different skill that a run's folder knows: none, fresh, and each round's, sure of itself or sampled.

    Raises:
        UserError: If a round's policy is damaged.
    """
    kept = {folder.name: load_policy(folder / "policy") for folder in finished_rounds(run)}
    first = next(iter(kept.values()), None)
    players = [Contender("random policy")]
    if first is not None:
        players.append(Contender("untrained policy", untrained(first.spec, seed)))
    for name, policy in kept.items():
        players += [Contender(f"round {int(name)}", policy), Contender(f"round {int(name)}, sampled", policy, False)]
    return players


def untrained(spec: PolicySpec, seed: int) -> PolicySnapshot:
    """A policy of this kind as training begins with it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = spec.build().get_state()
    return PolicySnapshot(spec, {name: np.asarray(value) for name, value in state.items()})
