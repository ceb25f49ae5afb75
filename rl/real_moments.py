"""An agent's real games, remembered whole, and moments of them to dream on from."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from envs.real import action_spec, make_real
from rl.players import Glimpse, Players
from rl.policies import PolicySnapshot
from rl.settings import GameSettings
from worldmodel.data.starts import Starts
from worldmodel.errors import UserError
from worldmodel.spaces import FrameSize


@dataclass(frozen=True, eq=False)
class RealPlay:
    """Real games side by side, of which each goes on to another; frame t is what action t answers.

    Attributes:
        frames: uint8, (time + 1, games, height, width, 3).
        actions: (time, games, *spec.shape).
        rewards: float32, (time, games).
        over: bool, (time, games): after which a game is over. The next action is ignored, and begins another game.
        cut: bool, (time, games): those of them that did not end by themselves, but by a limit of time.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    over: NDArray[np.bool_]
    cut: NDArray[np.bool_]

    @cached_property
    def begun(self) -> NDArray[np.int64]:
        """(time + 1, games): the first frame of the game that a frame belongs to."""
        begins = np.zeros((len(self.frames), self.over.shape[1]), np.int64)
        begins[2:] = self.over[:-1] * np.arange(2, len(self.frames))[:, None]
        return np.maximum.accumulate(begins)

    def moments(
        self, count: int, horizon: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`count` times and games at which there is something to do, and `horizon` steps or the game's own end to come.

        Where a limit of time cuts a game off before that, its rewards would be held against those of a dream, which
        knows no such limit.

        Raises:
            UserError: If the play is too short, or every game of it is cut off too early.
        """
        left = len(self.rewards) - horizon + 1
        if left < 1:
            raise UserError(f"{len(self.rewards)} real steps a game hold no {horizon} to dream: play longer.")
        acts = np.ones((left, self.over.shape[1]), np.bool_)
        acts[1:] = ~self.over[: left - 1]
        time, game = (acts & ~self._cut_within(horizon)).nonzero()
        if not len(time):
            raise UserError(f"every real game is cut off within {horizon} steps: raise --game.max-steps.")
        drawn = rng.integers(len(time), size=count)
        return time[drawn], game[drawn]

    def _cut_within(self, horizon: int) -> NDArray[np.bool_]:
        """(time - horizon + 1, games): whether a limit of time is the first that ends a game in so many steps."""
        over, cut = (sliding_window_view(flags, horizon, axis=0) for flags in (self.over, self.cut))
        first = over.argmax(-1)[..., None]
        return np.take_along_axis(cut, first, -1)[..., 0]

    def starts(self, time: NDArray[np.int64], game: NDArray[np.int64], context: int) -> Starts:
        """The contexts of these moments."""
        at = time[:, None] + np.arange(1 - context, 1)
        first = self.begun[time, game][:, None]
        mask = at >= first
        at, of = np.maximum(at, first), game[:, None]
        actions = self.actions[at[:, :-1], of].copy()
        actions[~mask[:, :-1]] = 0
        return Starts.of(self.frames[at, of], actions, mask)

    def ahead(
        self, time: NDArray[np.int64], game: NDArray[np.int64], steps: int
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Actions and rewards (moments, steps, ...) from these moments on, nothing being paid after a game's end."""
        at, of = time[:, None] + np.arange(steps), game[:, None]
        return self.actions[at, of], np.where(past(self.over[at, of]), np.float32(0), self.rewards[at, of])


def play_for_real(
    game: GameSettings,
    world_model: Path,
    policy: PolicySnapshot,
    frame_size: FrameSize,
    games: int,
    steps: int,
    rng: np.random.Generator,
) -> RealPlay:
    """Let an agent play, as its policy draws its actions, and remember all of it.

    Args:
        game: Which game; where a lost life is an end in training, it is one here.
        world_model: The folder of the model through whose encoder the agent sees.
        policy: The agent.
        frame_size: Height and width of a frame, pixels.
        games: How many side by side.
        steps: Steps of each.
        rng: Draws everything.
    """
    made = make_real(game.id, games, frame_size=frame_size, lives_end=game.atari.life_loss_ends, **game.options)
    player, rows = Players(action_spec(made)).trained(policy, world_model), np.arange(games)
    try:
        newest, _ = made.reset(seed=rng.integers(2**31, size=games).tolist())
        player.view.start([Glimpse(newest, np.ones(games, np.bool_))])
        frames, actions, rewards, cut, over = [newest], [], [], [], [np.zeros(games, np.bool_)]
        for _ in range(steps):
            actions.append(player.policy.act(player.view.of(rows), rng))
            newest, paid, terminated, truncated, _ = made.step(actions[-1])
            # What comes after a game's end is the first picture of the next one.
            player.view.look(Glimpse(newest, over[-1]), rows)
            frames.append(newest)
            rewards.append(paid)
            cut.append(truncated & ~terminated)
            over.append(terminated | truncated)
    finally:
        made.close()
    return RealPlay(np.stack(frames), np.stack(actions), np.stack(rewards), np.stack(over[1:]), np.stack(cut))


def past(over: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The steps (moments, steps) after the first that is over."""
    return over.cumsum(1) - over > 0
