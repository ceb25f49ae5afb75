"""The play that a base learns from: many games, each in a buffer folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import ray

from envs.real import action_spec, make_real
from rl.buffer import BufferWriter
from rl.collector import Collector, Shares
from rl.pretrain_settings import PlaySettings
from rl.progress import Progress
from rl.scripted import RULES, play_scripted
from rl.settings import GameSettings
from worldmodel.data.episode import Episode
from worldmodel.data.index import holds_play, read_index
from worldmodel.data.reader import BufferReader
from worldmodel.spaces import FrameSize, shape_of


def buffer_of(folder: Path, game: str) -> Path:
    """Where the play of a game lies."""
    return folder / game.replace("/", "-").replace(":", "-")


def gather(settings: PlaySettings, frame_size: FrameSize, seed: int, folder: Path, progress: Progress) -> None:
    """Play all games, one on each CPU of the cluster; what is there already stays.

    Raises:
        UserError: If a game cannot be played, or the play that is there is of another kind.
    """
    buffers = {game: buffer_of(folder, game) for game in (*settings.games, *settings.strange)}
    wanted = {game: buffer for game, buffer in buffers.items() if not is_there(buffer, settings.steps)}
    play = ray.remote(num_cpus=1)(play_game)
    pending = [play.remote(settings, game, frame_size, seed, buffer) for game, buffer in wanted.items()]
    with progress.phase("play", len(wanted)) as advance:
        while pending:
            done, pending = ray.wait(pending)
            ray.get(done)
            advance(len(done))


def play_game(settings: PlaySettings, game: str, frame_size: FrameSize, seed: int, folder: Path) -> None:
    """Play one game at random, and by its scripted expert if it has one, into the buffer in `folder`.

    Raises:
        UserError: If the game fails; what was played until then is kept.
    """
    env = make_real(game, 1, frame_size=frame_size)
    spec = action_spec(env)
    env.close()
    writer = BufferWriter(folder, shape_of(frame_size), spec, 2 * settings.steps)
    writer.truncate(0)
    for episodes in _played(settings, game, frame_size, seed):
        writer.append(episodes)


def is_there(buffer: Path, steps: int) -> bool:
    """Whether a buffer holds so many steps."""
    return holds_play(buffer) and read_index(buffer).written.steps >= steps


def readers_of(folder: Path, games: tuple[str, ...]) -> dict[str, BufferReader]:
    """The games' play, by game."""
    return {game: BufferReader(buffer_of(folder, game)) for game in games}


def _played(settings: PlaySettings, game: str, frame_size: FrameSize, seed: int) -> Iterator[list[Episode]]:
    by_expert = round(settings.steps * settings.expert) if game in RULES else 0
    collector = Collector(GameSettings(game, settings.max_steps), frame_size, settings.envs, 0, seed)
    episodes, delivery = collector.deliver(settings.steps - by_expert, 1, Shares(), None, None, 0)
    yield episodes
    if delivery.failure:
        raise delivery.failure
    if by_expert:
        yield play_scripted(game, by_expert, shape_of(frame_size), settings.max_steps, seed)
