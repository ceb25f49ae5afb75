"""The page that goes with a saved world model: where it comes from, what it learned from, what it is worth."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.provenance import commit
from experiments.table import fidelity_curves
from rl.round_report import RoundReport
from rl.run_folder import RunFolder
from rl.settings import Settings
from worldmodel.data.episode import Source
from worldmodel.data.index import holds_play, read_index
from worldmodel.data.pieces import joined
from worldmodel.fidelity import Fidelity
from worldmodel.files import write_whole
from worldmodel.latent.own_base import CARD, base_folder

PAGE = "README.md"


def write_model_page(folder: Path, run: RunFolder, report: RoundReport, command: str = "") -> None:
    """Write README.md of the world model in `folder`.

    Args:
        folder: Where the world model is.
        run: The run that fitted it, with the play of no later round.
        report: Of the round that it is of.
        command: The run's; empty if nobody knows it.
    """
    write_whole(folder / PAGE, _page(run, report, command).encode())


def _page(run: RunFolder, report: RoundReport, command: str) -> str:
    settings = run.settings
    frame = " x ".join(map(str, settings.world_model.frame_shape[:2]))
    low, high = report.after.interval
    return f"""---
license: {"other" if _is_foreign(settings) else "apache-2.0"}
---

# {run.path.name}, round {report.round}: a world model of {settings.game.id}

It dreams the game at {frame} pixels, of the family `{settings.family}`; of its {report.parameters_total:,} parameters
{report.parameters_trained:,} were trained in this round. `load_world_model` of `worldmodel` reads this folder, and

    gym.make("envs:NeuralEnv-v0", world_model=FOLDER)

plays in it.

## How it was made

{_typed(command)}Round {report.round} of {settings.rounds}, seed {settings.seed}, base {_base(settings) or "none"},
commit {commit() or "unknown"}; `config.json` of the run holds every setting.

## What it learned from

{_table(_play(run.buffer))}

This is the play that the run kept after the round, of {report.real_steps:,} real steps so far. By one episode in ten
it was judged, from the others it learned.{_of_an_expert(report)}

## What it is worth

{_worth(report.fidelity)}

The agent that learned in it reaches {report.after.mean:.1f} in the real game ({low:.1f} to {high:.1f}, mean of
{len(report.after.returns)} games).

## Licence

{_licence(settings)}
"""


def _typed(command: str) -> str:
    return f"    {command}\n\n" if command else ""


def _licence(settings: Settings) -> str:
    if _is_foreign(settings):
        return f"That of its base, {_base(settings)}; what was added to it is under Apache-2.0, as the project."
    return "Apache-2.0, as the project."


def _base(settings: Settings) -> str | None:
    """The name of what it began from, if that was not nothing."""
    return settings.model.base.name if settings.family == "latent" else None


def _is_foreign(settings: Settings) -> bool:
    """Whether it began from a model that is not of this project."""
    base = _base(settings)
    return base is not None and not (base_folder(base) / CARD).is_file()


def _play(buffer: Path) -> list[list[str]]:
    """The rows of what is kept in a buffer, by source and in all."""
    pieces = [piece for chunk in read_index(buffer).there for piece in chunk.episodes] if holds_play(buffer) else []
    episodes: Counter[Source] = Counter(episode.begun.source for episode in joined(pieces))
    steps: Counter[Source] = Counter()
    for piece in pieces:
        steps[piece.info.source] += piece.length
    rows = [[source, f"{episodes[source]:,}", f"{steps[source]:,}"] for source in sorted(steps)]
    return [["source", "episodes", "steps"], *rows, ["all", f"{episodes.total():,}", f"{steps.total():,}"]]


def _of_an_expert(report: RoundReport) -> str:
    return f" The expert took {report.expert_steps:,} real steps before." if report.expert_steps else ""


def _worth(fidelity: Fidelity | None) -> str:
    if fidelity is None:
        return "Nothing was measured: the real game stood in for its dreams, and its encoder alone was fitted."
    curves = [[name, *(f"{value:.1f}" for value in curve)] for name, curve in fidelity_curves(fidelity).items()]
    return f"""\
Peak signal-to-noise ratios on held-out play, dB, by steps dreamed: free-running under the recorded actions. "Changing
pixels" are those that differ visibly from the newest frame of the start.

{_table([["prediction", *map(str, fidelity.horizons)], *curves])}

In {fidelity.starts} dreams {fidelity.ends_dreamed} of {fidelity.ends} real ends came at their very step;
{fidelity.false_ends:.1%} of the other steps ended falsely."""


def _table(rows: Sequence[Iterable[str]]) -> str:
    """Markdown; the first row has the names of the columns."""
    heads, *others = [list(row) for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *others])
