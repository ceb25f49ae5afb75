"""Let a policy play: in the dreams of a world model, in the real game, or in both."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from experiments.cli import run_main
from experiments.keywords import REGISTRY
from rl.settings import GameSettings
from rl.statistics import Evaluation
from worldmodel.bounds import Count, check_bounds
from worldmodel.errors import UserError
from worldmodel.files import write_whole
from worldmodel.spaces import FrameSize

if TYPE_CHECKING:
    from rl.policies import PolicySnapshot

PROGRAM = "python experiments/play.py"
_AT_A_TIME = 8


@dataclass(frozen=True)
class Options:
    """Let a policy play in the dreams of a world model, in the real game (if --game.id names one), or in both."""

    policy: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """a policy's folder, such as runs/cartpole-seed0/rounds/002/policy"""
    world_model: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """dream in the world model in this folder; a policy that sees latents sees the real game through its encoder"""
    game: GameSettings = field(default_factory=lambda: GameSettings(id=""))
    games: int = 10
    """games, real ones and dreams"""
    horizon: int = 200
    """cut a dream off after this many steps"""
    greedy: bool = False
    """play the likeliest action, not a sampled one"""
    seed: Count = 0
    """seeds every random choice"""
    film: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """write the first dream to this file, as an animated GIF"""


def main(arguments: Sequence[str]) -> int:
    """Play as the command line says, and tell what came of it. Returns the exit status."""
    options = tyro.cli(Options, args=arguments, prog=PROGRAM, registry=REGISTRY)
    _check(options)
    # Imported here, because it takes seconds: the errors above come at once.
    from rl.policies import load_policy

    policy = load_policy(options.policy)
    if options.world_model:
        _dream(options, options.world_model, policy)
    if options.game.id:
        _play(options, policy)
    return 0


def _check(options: Options) -> None:
    check_bounds(options)
    if not (options.world_model or options.game.id):
        raise UserError("there is nothing to play in: give --world-model, --game.id, or both.")
    if options.film and not options.world_model:
        raise UserError("--film shows a dream: give --world-model.")


def _dream(options: Options, world_model: Path, policy: "PolicySnapshot") -> None:
    from rl.dream_play import play_dreams
    from rl.reporting import gif

    played = play_dreams(world_model, policy, options.games, options.horizon, options.seed, options.greedy)
    print(f"dreamt: {_told(played.evaluation)}, {played.ended:.0%} of the dreams ended")
    if options.film:
        write_whole(options.film, gif(played.film))


def _play(options: Options, policy: "PolicySnapshot") -> None:
    from rl.evaluator import Evaluator

    evaluator = Evaluator(options.game, frame_size_of(policy, options.world_model), min(options.games, _AT_A_TIME))
    judged = evaluator.evaluate(options.games, options.seed, policy, options.world_model, options.greedy)
    print(f"real:   {_told(judged)}")


def frame_size_of(policy: "PolicySnapshot", world_model: Path | None) -> FrameSize:
    """Of the frames that a policy sees, or that `world_model` encodes for it."""
    height, width, _ = policy.spec.observation_shape
    if policy.spec.observation == "latents" and world_model:
        from worldmodel.families import load_world_model

        height, width, _ = load_world_model(world_model).frame_shape
    return height, width


def _told(judged: Evaluation) -> str:
    low, high = judged.interval
    steps = judged.steps / len(judged.returns)
    return f"return {judged.mean:.1f} ({low:.1f} to {high:.1f}) in {len(judged.returns)} games of {steps:.0f} steps"


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
