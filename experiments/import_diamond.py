"""Turn an Atari model that DIAMOND publishes into a world model's folder and a policy's."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
import tyro

from experiments.cli import run_main
from worldmodel.bounds import Count, check_bounds
from worldmodel.errors import UserError

if TYPE_CHECKING:
    from envs.real import RealVectorEnv
    from rl.policies import PolicySnapshot
    from worldmodel.data.starts import Starts

PROGRAM = "python experiments/import_diamond.py"
_GAMES = 4
"""games at a time"""


@dataclass(frozen=True)
class Options:
    """Turn an Atari model that DIAMOND publishes into a folder of ours: safetensors and JSON, playable by itself.

    The file brings no pictures, so its policy plays the real game for a while, to have moments that dreams begin at.
    """

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """a file of DIAMOND's atari_100k/models, such as Breakout.pt"""
    game: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="GAME")]
    """Gymnasium id of the game that it was trained on, such as ALE/Breakout-v5"""
    output: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """where the world model goes, the policy into its folder policy; None: models/diamond-NAME"""
    steps: int = 2000
    """real steps to play"""
    starts: int = 64
    """moments of them to keep"""
    seed: Count = 0
    """seeds every random choice"""

    @property
    def folder(self) -> Path:
        """Where the world model goes."""
        return self.output or Path("models") / f"diamond-{self.file.stem.lower()}"


def main(arguments: Sequence[str]) -> int:
    """Import the file that the command line names. Returns the exit status."""
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    _check(options)
    # Imported here, because they take seconds: the errors above come at once.
    from envs.neural_vector import STARTS_FILE
    from envs.real import RealVectorEnv, make_real
    from rl.policies import save_policy
    from rl.recurrent import published_policy
    from worldmodel.data.starts import save_starts
    from worldmodel.pixel.published import read_published

    games = cast(RealVectorEnv, make_real(options.game, _GAMES).unwrapped)
    published = read_published(options.file, games.action_spec.names)
    policy = published_policy(published.policy, published.world_model.action_spec)
    starts = _play(games, options, policy, published.world_model.context)
    published.world_model.save_pretrained(options.folder)
    save_starts(options.folder / STARTS_FILE, starts)
    save_policy(options.folder / "policy", policy)
    print(
        f"{options.folder} holds the world model, {options.folder / 'policy'} its policy. To see it dream:\n"
        f"python experiments/play.py {options.folder / 'policy'} --world-model {options.folder} --film dream.gif"
    )
    return 0


def _check(options: Options) -> None:
    check_bounds(options)
    if options.folder.exists():
        raise UserError(f"{options.folder} is there already; give --output another folder.")


def _play(games: "RealVectorEnv", options: Options, policy: "PolicySnapshot", context: int) -> "Starts":
    """Moments of the policy's play; a lost life counts as an end, as it did in training."""
    from rl.buffer import BufferWriter
    from rl.play import Play
    from rl.players import Players
    from worldmodel.data.reader import BufferReader
    from worldmodel.data.starts import draw_starts

    rng = np.random.default_rng(options.seed)
    play = Play(games, options.game, 0, rng.integers(2**31, size=_GAMES).tolist())
    player = Players(games.action_spec).trained(policy, None)
    episodes = play.run([player], [1.0], options.steps, 0, rng)
    if play.failure:
        raise play.failure
    with tempfile.TemporaryDirectory() as folder:
        BufferWriter(folder, policy.spec.observation_shape, games.action_spec, 2 * options.steps).append(episodes)
        return draw_starts(BufferReader(Path(folder), lives_end=True), options.starts, context, rng)


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
