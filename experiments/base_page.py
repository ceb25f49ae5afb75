"""The page that goes with a base: what it has seen, how it was made, what it is worth."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.provenance import commit, machine
from rl.pretrain_settings import PretrainSettings
from rl.pretrainer import SCORES
from rl.scripted import RULES
from worldmodel.files import write_json, write_whole
from worldmodel.plain import to_plain

SETTINGS = "settings.json"


def write_base_page(folder: Path, name: str, settings: PretrainSettings, command: str, seconds: float) -> None:
    """Write README.md and settings.json of the base `name` into its folder, where `rl.pretrainer` left its scores."""
    write_json(folder / SETTINGS, to_plain(settings))
    scores = json.loads((folder / SCORES).read_text())
    write_whole(folder / "README.md", _page(folder, name, settings, scores, command, seconds).encode())


def _page(
    folder: Path, name: str, settings: PretrainSettings, scores: Mapping[str, Any], command: str, seconds: float
) -> str:
    play = settings.play
    experts = [game for game in play.games if game in RULES]
    megabytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    return f"""---
license: apache-2.0
library_name: diffusers
---

# {name}: a base for world models of games

An autoencoder and a U-Net in diffusers' layout that have seen {len(play.games)} games at
{" x ".join(map(str, settings.model.frame_shape[:2]))} pixels, with all that a world model shares between games: the
filters for {settings.model.context} context frames, the class embedding, the conditioner's positions and noise levels,
the latents' statistics and the trunk of the reward and termination head. Embeddings of actions and the head's outputs
belong to a game and are not in it. {megabytes:.1f} MB in float32.

It is for `--base` of `experiments/dyna.py`; `docs/base.md` says more.

## How it was made

    {command}

{seconds / 60:.0f} minutes on {machine()}, seed {settings.seed}, commit {commit() or "unknown"}; `settings.json`
holds every setting.

## What it has seen

{play.steps} steps of each game, autoencoder included: {", ".join(play.games)}.

All play is random, but for {play.expert:.0%} in {", ".join(experts) or "no game"}: there a scripted expert played
(bang-bang control in the mountain car, energy pumping in Acrobot and Pendulum), a fifth of its actions random.

## What it is worth

Peak signal-to-noise ratios on held-out episodes, dB. Pictures: frames through the autoencoder. Dreams: free-running
under the recorded actions, beside copying the last frame; "changing" is over the pixels that differ from the start's
newest frame, "moving" over those that differ from the game's median picture. Games without dreams were not learned.

{_table(scores)}

## Licence

Apache-2.0, as the project.
"""


def _table(scores: Mapping[str, Any]) -> str:
    horizons = next((score["dreams"]["horizons"] for score in scores.values() if "dreams" in score), ())
    heads = ["game", "pictures", "moving", *(f"dream, changing, {h} steps (copy)" for h in horizons)]
    rows = [heads, ["---"] * len(heads), *(_row(game, score, len(horizons)) for game, score in scores.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(game: str, score: Mapping[str, Any], horizons: int) -> list[str]:
    pictures = score["pictures"]
    row = [game, f"{pictures['all']:.1f}", f"{pictures['moving']:.1f}"]
    if "dreams" not in score:
        return row + [""] * horizons
    dreams = score["dreams"]
    pairs = zip(dreams["dream_changing"], dreams["copy_last_changing"], strict=True)
    cells = [f"{dream:.1f} ({copied:.1f})" for dream, copied in pairs]
    return row + cells + [""] * (horizons - len(cells))
