"""Play by hand: a world model's dream, or the real game, with the keyboard."""

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from envs.keymap import Keymap, keymap_of
from experiments.cli import run_main
from experiments.keywords import REGISTRY
from rl.settings import GameSettings
from worldmodel.bounds import Count, NotNegative, check_bounds
from worldmodel.errors import UserError
from worldmodel.files import write_whole
from worldmodel.spaces import FrameSize

if TYPE_CHECKING:
    from experiments.window import Window
    from rl.by_hand import Session
    from rl.one_game import OneGame
    from rl.players import Player
    from rl.policies import PolicySnapshot

PROGRAM = "python experiments/by_hand.py"
_USUAL_SIZE = 64
_LONGEST_FILM = 3000
"""newest pictures that a film shows"""
_OF_DREAMS = {"horizon": "--game.max-steps cuts real games off", "doubt_limit": "nobody doubts the real game"}
_OF_REAL_GAMES = {
    "record": "dreams are not kept",
    "encoder": "a policy sees dreams through their own world model",
    "frame_size": "dreams have that of their world model",
}
"""Options that only one of the two has, and why."""


@dataclass(frozen=True)
class Options:
    """Play a world model's dream by hand, or the real game, with the keyboard.

    Arrow keys (or W, A, S, D) and space play games whose actions are called so, number keys all others; the keys are
    shown at the start. R begins anew, P pauses, N takes one step in a pause, Tab changes places with the policy,
    Escape ends.
    """

    world_model: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """dream in the world model in this folder, such as runs/cartpole-seed0/world_model/best"""
    game: GameSettings = field(default_factory=lambda: GameSettings(id=""))
    policy: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """let the policy in this folder play until Tab is pressed"""
    encoder: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """the world model through which a policy on latents sees the real game"""
    greedy: bool = False
    """the policy plays the likeliest action, not a sampled one"""
    horizon: int | None = None
    """cut a dream off after this many steps; None: never"""
    doubt_limit: NotNegative | None = None
    """cut a dream off whose doubt exceeds this; None: as the model was measured on real play"""
    frame_size: FrameSize | None = None
    """height and width of the real game's frames, pixels, as its world models learn them; None: the policy's, or 64"""
    names: tuple[str, ...] = ()
    """words for the actions, in their order, where the game gives none: those of joysticks (NOOP, UP, LEFTFIRE and the
    like) are played by arrows and space, as with NOOP LEFT UP RIGHT in LunarLander-v3"""
    record: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """keep what is played of the real game in this buffer folder, to learn from"""
    film: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """write what was seen to this file, as an animated GIF; its newest 3000 pictures"""
    fps: float = 15.0
    """steps a second, or fewer where a dream takes longer"""
    zoom: int = 8
    """pixels of the screen for one of a frame"""
    seed: Count | None = None
    """seeds every random choice; None: other games every time"""


def main(arguments: Sequence[str]) -> int:
    """Let a person play as the command line says. Returns the exit status."""
    options = tyro.cli(Options, args=arguments, prog=PROGRAM, registry=REGISTRY)
    _check(options)
    # Imported here, because they take seconds: the errors above come at once.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    from experiments.window import Window
    from rl.policies import load_policy

    policy = load_policy(options.policy) if options.policy else None
    game = _opened(options, policy)
    with closing(game):
        keys, player = _keymap(options, game), _player(options, policy, game)
        title = str(options.world_model or options.game.id)
        with closing(Window(title, game.frame_shape, options.zoom)) as window:
            print(*keys.lines(), *_other_keys(player), sep="\n")
            _sit_down(options, game, player, keys, window)
    return 0


def play(session: "Session", window: "Window", keys: Keymap, fps: float) -> None:
    """Let a person play, `fps` steps a second, until that is enough."""
    from experiments.window import Command

    paused = False
    while True:
        window.show(session.sight.picture, told(session, paused))
        asked = window.look(fps)
        if Command.END in asked.commands:
            return
        if Command.TURN in asked.commands:
            session.turn()
        if Command.PAUSE in asked.commands:
            paused = not paused
        if Command.ANEW in asked.commands:
            session.begin()
        elif not paused or Command.ONE_STEP in asked.commands:
            session.step(keys.action(asked.keys, session.action))


def told(session: "Session", paused: bool) -> list[str]:
    """What stands below the picture."""
    sight, limit = session.sight, session.game.doubt_limit
    lines = [f"step {session.steps}   reward {sight.reward:+g}   return {session.total:g}"]
    if limit is not None:
        doubt, end = sight.told.get("doubt", 0.0), sight.told.get("end_probability", 0.0)
        lines.append(f"doubt {doubt:.4g} of {limit:.4g}   end {end:.0%}")
    who = "you play" if session.by_hand else "the policy plays"
    lines.append(who + ("   Tab: change places" if session.has_policy else ""))
    if sight.over:
        lines.append(f"{'over' if sight.terminated else 'cut off'}   R: begin anew")
    elif paused:
        lines.append("paused   P: go on   N: one step")
    return lines


def _check(options: Options) -> None:
    check_bounds(options)
    if bool(options.world_model) == bool(options.game.id):
        raise UserError(
            "one thing at a time is played: give --world-model for a dream, or --game.id for the real game."
        )
    for name, why in (_OF_REAL_GAMES if options.world_model else _OF_DREAMS).items():
        if getattr(options, name) is not None:
            raise UserError(f"leave out --{name.replace('_', '-')}: {why}.")
    if options.encoder and not options.policy:
        raise UserError("--encoder is what a policy sees through: give --policy, or leave it out.")
    if options.frame_size and options.policy:
        raise UserError("a policy has a frame size of its own: leave out --frame-size.")
    _check_screen()


def _check_screen() -> None:
    if find_spec("pygame") is None:
        raise UserError("a window needs pygame: pip install 'gymnasium[classic-control]' brings it.")
    screens = {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"}
    if sys.platform == "linux" and not screens & os.environ.keys():
        raise UserError("there is no screen to play on (DISPLAY is not set): start on a machine that has one.")


def _opened(options: Options, policy: "PolicySnapshot | None") -> "OneGame":
    from rl.one_game import OneDream, OneRealGame

    if options.world_model:
        seen_by = policy.spec if policy else None
        return OneDream(options.world_model, seen_by, options.horizon, options.doubt_limit)
    return OneRealGame(options.game, _frame_size(options, policy))


def _frame_size(options: Options, policy: "PolicySnapshot | None") -> FrameSize:
    if policy is None:
        return options.frame_size or _USUAL_SIZE
    if policy.spec.observation == "latents" and not options.encoder:
        raise UserError("the policy sees latents: give --encoder the world model that it was trained in.")
    from experiments.play import frame_size_of

    return frame_size_of(policy, options.encoder)


def _keymap(options: Options, game: "OneGame") -> Keymap:
    spec, names = game.action_spec, options.names
    if names and (spec.kind != "discrete" or len(names) != spec.sizes[0]):
        raise UserError(f"--names has {len(names)} words, and the game {spec}: give each action one.")
    return keymap_of(replace(spec, names=names or spec.names))


def _player(options: Options, policy: "PolicySnapshot | None", game: "OneGame") -> "Player | None":
    if policy is None:
        return None
    from rl.dream_play import dreamer
    from rl.players import Players

    if options.world_model:
        return dreamer(policy, options.world_model, game.action_spec, options.greedy)
    return Players(game.action_spec).trained(policy, options.encoder, options.greedy)


def _other_keys(player: "Player | None") -> list[str]:
    turns = ["tab  change places with the policy"] if player else []
    return ["", "r  begin anew", "p  pause", "n  one step, in a pause", *turns, "escape  end"]


def _sit_down(options: Options, game: "OneGame", player: "Player | None", keys: Keymap, window: "Window") -> None:
    """Play, and keep what is to be kept, however it ends."""
    from rl.by_hand import Session
    from rl.tape import Tape

    tape = Tape(options.record, options.game.id, game.frame_shape, game.action_spec) if options.record else None
    session = Session(game, player, tape, options.seed, _LONGEST_FILM if options.film else 0)
    try:
        play(session, window, keys, options.fps)
    finally:
        session.close()
        if options.film:
            from rl.reporting import gif

            write_whole(options.film, gif(np.stack(session.film), round(1000 / options.fps)))
    if tape:
        print(f"{tape.steps} steps kept in {options.record}")


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1:]))
