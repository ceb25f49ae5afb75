"""The tables of `experiments/fidelity.py`: no metric without its baseline's row beside it."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from experiments.fidelity_results import FidelityResults, RoundAlarms, TrainingGap
from experiments.table import new_table
from rl.correlation import Correlation
from rl.promise import Promise
from rl.ranking import Standing
from rl.statistics import Evaluation
from worldmodel.doubt import STRETCH
from worldmodel.metrics.control import Controllability
from worldmodel.metrics.events import EventScores
from worldmodel.metrics.frechet import FrechetScores
from worldmodel.metrics.outcomes import OutcomeScores
from worldmodel.metrics.pictures import PictureScores


def print_results(console: Console, results: FidelityResults) -> None:
    """Print everything that was found out."""
    for table in _tables(results):
        console.print()
        console.print(table)


def _tables(results: FidelityResults) -> Iterator[Table]:
    yield from picture_tables(results.free)
    yield from picture_tables(results.forced)
    if results.frechet:
        yield frechet_table(results.frechet)
    if results.control:
        yield control_table(results.control)
    yield outcome_table(results.outcomes)
    if results.standings:
        yield standings_table(results.standings, results.correlation)
    if results.promise:
        yield promise_table(results.promise)
    yield alarms_table(results.alarms)
    yield training_table(results.training)


def picture_tables(scores: PictureScores) -> Iterator[Table]:
    """One table a metric: predictions against the horizon."""
    how = "each from the real frames before it (teacher-forced)" if scores.forced else "free running"
    for metric in dict.fromkeys(curve.metric for curve in scores.curves):
        table = _columns(f"{metric}, by steps dreamed, {how}", "prediction", map(str, scores.horizons))
        digits = 1 if "dB" in metric else 3
        for pixels in ("all", "changing"):
            for curve in scores.curves:
                if (curve.metric, curve.pixels) == (metric, pixels):
                    named = f"{curve.prediction}, {pixels} pixels"
                    table.add_row(named, *(_told(value, digits) for value in curve.values))
            table.add_section()
        table.add_row("real frames that count", *map(str, scores.frames))
        yield table


def frechet_table(scores: Sequence[FrechetScores]) -> Table:
    """FID and FVD."""
    columns = ("dream", "last frame copied", "autoencoder (ceiling)")
    table = _columns("Distance to the real frames in a network's features (0 is best)", "metric", columns)
    for row in scores:
        table.add_row(row.metric, *(f"{value:.2f}" for value in (row.dream, row.copy_last, row.ceiling)))
    return table


def control_table(control: Controllability) -> Table:
    """What the actions do."""
    columns = ("all pixels", "changing pixels")
    table = _columns(f"PSNR, dB, after {control.horizon} steps under ...", "actions", columns)
    rows = {
        "the played actions": [scores.played for scores in control.scores],
        "random actions, same noise": [scores.random for scores in control.scores],
        "the played actions, other noise": [scores.other_noise for scores in control.scores],
        "none: last frame copied": [scores.copy_last for scores in control.scores],
    }
    for name, values in rows.items():
        table.add_row(name, *(f"{value:.2f}" for value in values), end_section=name.startswith("none"))
    table.add_row("delta: what random actions cost", *(f"{scores.delta:+.2f}" for scores in control.scores))
    table.add_row("baseline: what other noise costs", *(f"{scores.noise_delta:+.2f}" for scores in control.scores))
    table.caption = f"{control.starts} dreams; a dream that does not obey has a delta near its baseline."
    return table


def outcome_table(outcomes: Sequence[OutcomeScores]) -> Table:
    """Ends and rewards."""
    columns = ("steps", "events", "precision", "recall", "drawn precision", "drawn recall", "Brier")
    table = _columns("Ends and rewards on held-out play, told from ...", "event", columns)
    for scores in outcomes:
        for told in scores.events:
            table.add_row(f"{scores.source}: {told.event}", *_event(told.scores))
            table.add_row("  baseline: its frequency", *_event(told.baseline))
        table.add_section()
    table.caption = "Mean absolute error of the reward (and of the median reward, always paid): " + "; ".join(
        f"{scores.source} {scores.reward_error:.3f} ({scores.constant_error:.3f})" for scores in outcomes
    )
    return table


def standings_table(standings: Sequence[Standing], correlation: Correlation) -> Table:
    """The returns of the same players in both games."""
    columns = ("real", "95% interval", "dreamed", "95% interval", "gap")
    table = _columns("Mean returns from a game's beginning, both cut at the same horizon", "player", columns)
    for standing in standings:
        both = (cell for judged in (standing.real, standing.dreamed) for cell in _judged(judged))
        table.add_row(standing.name, *both, f"{standing.gap:+.1f}")
    table.caption = f"{len(standings)} players: {_paired(correlation)}."
    return table


def _paired(correlation: Correlation) -> str:
    pearson, spearman, chance = map(_told, (correlation.pearson, correlation.spearman, correlation.chance))
    return (
        f"correlation {pearson}, of their ranks {spearman}; of all ways to pair the same returns at random, a share of"
        f" {chance} correlates as well"
    )


def promise_table(promise: Promise) -> Table:
    """What the dream promises its agent."""
    columns = (*(f"{horizon} steps" for horizon in promise.horizons), "95% interval")
    table = _columns(
        f"What the dream promises its agent ({promise.player}): mean return of the next", "played", columns
    )
    rows = {
        "by the agent, in the real game": promise.real,
        "as it did there, in the dream": promise.replayed,
        "by the agent, in the dream": promise.dreamed,
    }
    for name, curve in rows.items():
        table.add_row(name, *(_told(mean) for mean in curve.means), f"{curve.low:.2f} to {curve.high:.2f}")
    table.caption = (
        f"All three from the same {promise.moments} moments of the agent's real games. A last row above the first is"
        " a promise that the game does not keep; where the second is right, the agent has found what the dream gets"
        f" wrong. Of the same actions, by {promise.paired.pairs} moments that share no step: {_paired(promise.paired)}."
    )
    return table


def alarms_table(rounds: Sequence[RoundAlarms]) -> Table:
    """What would be doubted of real play."""
    columns = ("games in later play", "steps doubted", "stretches doubted (false alarms)", "games doubted",
               "stretches doubted with a strange picture")  # fmt: skip
    table = _columns("Doubt, of real play that came after the world model", "round", columns)
    for row in rounds:
        found = row.alarms
        shares = (found.steps, found.real, found.whole, found.strange) if found else (None,) * 4
        table.add_row(str(row.round), str(found.games if found else 0), *map(_told, shares))
    table.caption = (
        f"A stretch is up to {STRETCH} steps, as long as a dream; strange is the picture of another one, at one step of"
        " each. False alarms should stay below 0.05; a doubt that tells nothing apart has these two shares alike. Of a"
        " game one doubted step is enough."
    )
    return table


def training_table(training: Sequence[TrainingGap]) -> Table:
    """Imagined and real returns, round by round, beside random play."""
    columns = ("imagined return", "imagined length", "real return", "real length")
    table = _columns("As the run went on", "round", columns)
    for row in training:
        if row.random_return is not None:
            table.add_row("random play", "-", "-", _told(row.random_return, 1), _told(row.random_length, 1))
        told = (row.imagined_return, row.imagined_length, row.real_return, row.real_length)
        table.add_row(str(row.round), *(_told(value, 1) for value in told))
    table.caption = "Dreams begin anywhere and are cut at the run's horizon: compare the courses, not the heights."
    return table


def _columns(title: str, first: str, names: Iterator[str] | Sequence[str]) -> Table:
    table = new_table(title, first)
    for name in names:
        table.add_column(name, justify="right")
    return table


def _event(scores: EventScores) -> tuple[str, ...]:
    shares = (scores.precision, scores.recall, scores.drawn_precision, scores.drawn_recall)
    return str(scores.steps), str(scores.events), *map(_told, shares), _told(scores.brier, 4)


def _judged(judged: Evaluation) -> tuple[str, str]:
    low, high = judged.interval
    return f"{judged.mean:.1f}", f"{low:.1f} to {high:.1f}"


def _told(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
