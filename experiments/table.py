"""The tables at the end of a run."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

from experiments.results import Results
from rl.round_report import RoundReport
from rl.settings import Settings
from rl.statistics import Evaluation, bootstrap_interval
from worldmodel.fidelity import Fidelity, Similarity
from worldmodel.metrics.events import Foretold

_REFERENCES = {"real": "ceiling: the real game dreamed", "shuffled": "floor: shuffled actions"}
_RATES = {
    "rate/real_steps": "real steps a second",
    "rate/updates": "world-model updates a second",
    "rate/imagined_steps": "imagined steps a second",
}
"""How fast a round went, by the name that a person reads."""
_GPU = {f"gpu_mb/{part}": f"GPU memory of the {part} at most, MB" for part in ("learner", "agent")}
_LEARNING = {
    "agent/entropy": "entropy of the policy",
    "agent/kl": "KL divergence from the policy that played",
    "agent/policy_loss": "policy loss",
    "agent/value_loss": "value loss",
    "agent/explained_variance": "explained variance of the values",
}
"""What an agent's updates said, by the name that a person reads."""


def print_tables(
    console: Console, settings: Settings, reports: Sequence[RoundReport], references: Sequence[Results], seconds: float
) -> None:
    """Print everything that a run found out.

    Args:
        console: Where to.
        settings: The run's settings.
        reports: Of all finished rounds, in order.
        references: Recorded results to compare with.
        seconds: Wall time since the process began.
    """
    tables: list[RenderableType] = [returns_table(settings, reports, references), cost_table(reports, seconds)]
    if _LEARNING.keys() & reports[-1].scalars.keys():
        tables.append(learning_table(reports))
    if reports[-1].fidelity:
        tables.append(fidelity_table(reports[-1].fidelity))
    if reports[-1].fidelity and reports[-1].fidelity.ssim:
        tables.append(similarity_table(reports[-1].fidelity.horizons, reports[-1].fidelity.ssim))
    for table in tables:
        console.print()
        console.print(table)
    console.print(summary(reports[-1]), highlight=False)


def returns_table(settings: Settings, reports: Sequence[RoundReport], references: Sequence[Results]) -> Table:
    """Who reaches what in the real game."""
    dream = "" if settings.imagine.dream == "model" else f", dream: {settings.imagine.dream}"
    table = new_table(f"Real return in {settings.game.id} (seed {settings.seed}{dream})", "player")
    for name in ("mean", "95% interval", "games"):
        table.add_column(name, justify="right", no_wrap=True)
    first = reports[0]
    for name, judged in (("random policy", first.random), ("agent before any imagination", first.before)):
        if judged:
            table.add_row(name, *_judged(judged))
    for report in reports:
        table.add_row(f"agent after round {report.round}", *_judged(report.after))
    _add_references(table, references)
    return table


def cost_table(reports: Sequence[RoundReport], seconds: float) -> Table:
    """What each round took: steps since the run began, and where its time went."""
    table = new_table(f"Cost ({seconds:.0f} s since this process began)", "round")
    for report in reports:
        table.add_column(str(report.round), justify="right")
    table.add_row("real steps so far", *(f"{report.real_steps:,}" for report in reports))
    if reports[-1].expert_steps:
        table.add_row("+ those that trained the expert", *(f"{report.expert_steps:,}" for report in reports))
    table.add_row("real steps that judged, so far", *(f"{report.evaluation_steps:,}" for report in reports))
    table.add_row("imagined steps so far", *(f"{report.imagined_steps:,}" for report in reports), end_section=True)
    for phase in dict.fromkeys(phase for report in reports for phase in report.seconds):
        spent = [report.seconds.get(phase) for report in reports]
        table.add_row(f"{phase}, s", *("" if time is None else f"{time:.1f}" for time in spent))
    if any(report.restarts for report in reports):
        table.add_row("actors started again", *(str(sum(report.restarts.values())) for report in reports))
    whole = [f"{sum(report.seconds.values()):.1f}" for report in reports]
    table.add_row("whole round, s", *whole, end_section=True)
    _add_scalars(table, reports, _RATES, ",.1f")
    _add_scalars(table, reports, _GPU, ",.0f")
    return table


def _add_scalars(table: Table, reports: Sequence[RoundReport], titles: Mapping[str, str], form: str) -> None:
    """A row for each of the named scalars that any of the rounds has."""
    for name, title in titles.items():
        told = [report.scalars.get(name) for report in reports]
        if any(value is not None for value in told):
            table.add_row(title, *("" if value is None else f"{value:{form}}" for value in told))


def learning_table(reports: Sequence[RoundReport]) -> Table:
    """What the agent's updates said in each round, on average."""
    table = new_table("How the agent learned (means over a round's updates)", "round")
    for report in reports:
        table.add_column(str(report.round), justify="right")
    _add_scalars(table, reports, _LEARNING, ".3g")
    return table


def fidelity_table(fidelity: Fidelity) -> Table:
    """How well the dream predicts held-out play."""
    table = new_table("PSNR by steps dreamed, dB (higher is better)", "prediction")
    for horizon in fidelity.horizons:
        table.add_column(str(horizon), justify="right")
    for name, curve in fidelity_curves(fidelity).items():
        table.add_row(name, *(f"{value:.1f}" for value in curve))
    table.caption = (
        f"{fidelity.starts} dreams on held-out play: {fidelity.ends_dreamed} of {fidelity.ends} real ends dreamed at"
        f" their very step; {fidelity.false_ends:.1%} of the other steps ended falsely."
        + "".join(map(_drawn, (fidelity.end, *fidelity.rewards)))
    )
    return table


def similarity_table(horizons: Sequence[int], measured: Similarity) -> Table:
    """The same dreams by structural similarity."""
    table = new_table("SSIM by steps dreamed (1 at best)", "prediction")
    for horizon in horizons:
        table.add_column(str(horizon), justify="right")
    rows = {
        "dream": measured.dream,
        "last frame copied": measured.copy_last,
        "autoencoder (ceiling)": measured.ceiling,
        "dream, changing pixels": measured.dream_changing,
        "last frame copied, changing pixels": measured.copy_last_changing,
        "autoencoder (ceiling), changing pixels": measured.ceiling_changing,
    }
    for name, curve in rows.items():
        table.add_row(name, *(f"{value:.3f}" for value in curve))
    return table


def _drawn(event: Foretold | None) -> str:
    """How well an event does that is drawn by the dream's probabilities; nothing where there were none to recall."""
    if event is None or not event.scores.events:
        return ""
    told, chance = event.scores, event.baseline.drawn_recall
    return (
        f" {event.event.capitalize()} ({told.events} in play): expected recall {told.drawn_recall or 0:.1%}, precision"
        f" {told.drawn_precision or 0:.1%}; by chance {chance or 0:.1%} each."
    )


def fidelity_curves(fidelity: Fidelity) -> dict[str, tuple[float, ...]]:
    """The curves that were measured, by the name that a person reads; over all pixels, then over changing ones."""
    named = {
        "dream": (fidelity.dream, fidelity.dream_changing),
        "dream, adapter off": (fidelity.adapter_off, fidelity.adapter_off_changing),
        "last frame copied": (fidelity.copy_last, fidelity.copy_last_changing),
        "autoencoder (ceiling)": (fidelity.ceiling, fidelity.ceiling_changing),
    }
    over_all = {name: curves[0] for name, curves in named.items()}
    changing = {f"{name}, changing pixels": curves[1] for name, curves in named.items()}
    return {name: curve for name, curve in (over_all | changing).items() if curve}


def summary(report: RoundReport) -> str:
    """The run's cost in a line or two."""
    expert = f"(+ {report.expert_steps:,} that trained the expert) " if report.expert_steps else ""
    return (
        f"{report.real_steps:,} real steps {expert}were learned from; {report.evaluation_steps:,} more were played to"
        " judge.\n"
        f"{report.imagined_steps:,} imagined steps.\n"
        f"World model: {report.parameters_trained:,} of {report.parameters_total:,} parameters trained in round"
        f" {report.round}."
    )


def new_table(title: str, first: str) -> Table:
    """A table without rows, whose first column is called `first`."""
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(first)
    return table


def interval_of(means: Sequence[float]) -> str:
    """The 95 % bootstrap interval of the mean of several seeds' means; nothing of one."""
    if len(means) < 2:
        return ""
    low, high = bootstrap_interval(means)
    return f"{low:.1f} to {high:.1f}"


def _judged(judged: Evaluation) -> tuple[str, str, str]:
    low, high = judged.interval
    return f"{judged.mean:.1f}", f"{low:.1f} to {high:.1f}", str(len(judged.returns))


def _add_references(table: Table, references: Sequence[Results]) -> None:
    if references:
        table.add_section()
    for results in references:
        seeds = [result.after[-1] for result in results.seeds.values()]
        # Games of one agent are not independent draws of what a seed brings: several seeds' means are.
        low, high = bootstrap_interval(seeds[0] if len(seeds) == 1 else [fmean(returns) for returns in seeds])
        name = f"{_REFERENCES[results.dream]} ({len(seeds)} seeds)"
        games = results.final_returns()
        table.add_row(name, f"{fmean(games):.1f}", f"{low:.1f} to {high:.1f}", str(len(games)))
