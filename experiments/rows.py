"""The rows of a comparison: one function for each kind of agent, which trains it and judges it for one seed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from time import monotonic

from experiments.bench import Bench, agent_of, ray_here
from experiments.comparison import Point, RowName, RowResult
from experiments.fresh import fresh_rllib, fresh_torch
from experiments.provenance import commit, commits
from rl.policies import save_policy
from rl.real_play import Agent, learn_for_real
from rl.round_report import RoundReport
from rl.run_folder import RunFolder
from rl.settings import RealPlaySettings
from worldmodel.errors import UserError

Done = Mapping[RowName, RowResult]
"""the results of the seed so far"""
Play = Callable[[Bench, Done], RowResult]

_JUDGING = ("random play", "untrained agent", "evaluate")
"""phases of a round in which nobody learns"""


def play_row(row: RowName, bench: Bench, done: Done) -> RowResult:
    """Train and judge the agent of a row.

    Raises:
        UserError: If it is to have the real steps of an imagination that was not run.
    """
    played = _ROWS[row](bench, done)
    # A run may have been there already: its rounds tell which code trained it.
    return played if row in _RUNS else replace(played, commit=commit())


def goals(budget: int, points: int) -> list[int]:
    """Even shares of a budget of real steps; the last is the whole."""
    return [-(-budget * number // points) for number in range(1, points + 1)]


def _imagination(bench: Bench, done: Done) -> RowResult:
    run = bench.finished_run()
    return _judged(bench, run, [report.real_steps for report in run.reports()])


def _ceiling(bench: Bench, done: Done) -> RowResult:
    run = bench.finished_run("real")
    # Its dreams are real games, whose steps it learned from too.
    return _judged(bench, run, [report.real_steps + report.imagined_steps for report in run.reports()])


def _judged(bench: Bench, run: RunFolder, real_steps: list[int]) -> RowResult:
    reports = run.reports()
    seconds = accumulate(_learning(report) for report in reports)
    ways = zip(real_steps, reports, seconds, strict=True)
    points = [Point(steps + report.expert_steps, spent, report.after.returns) for steps, report, spent in ways]
    points[-1] = replace(points[-1], returns=bench.judge(agent_of(run)))
    return RowResult(
        tuple(points),
        reports[-1].imagined_steps,
        reports[-1].expert_steps,
        commits(report.commit for report in reports),
    )


def _learning(report: RoundReport) -> float:
    """Wall time of a round without what only judged the agent."""
    return sum(seconds for phase, seconds in report.seconds.items() if phase not in _JUDGING)


def _random(bench: Bench, done: Done) -> RowResult:
    return RowResult((Point(0, 0.0, bench.judge(None)),))


def _model_free(bench: Bench, done: Done) -> RowResult:
    budget = _imagined(done).final.real_steps
    return RowResult(tuple(_way(bench, bench.compare.play, budget, None)))


def _model_free_more(bench: Bench, done: Done) -> RowResult:
    budget = bench.compare.times * _imagined(done).final.real_steps
    return RowResult(tuple(_way(bench, bench.compare.play, budget, None)))


def _fine_tuned(bench: Bench, done: Done) -> RowResult:
    before, run = _imagined(done), bench.finished_run()
    steps, seconds = before.final.real_steps, before.final.seconds
    way = _way(bench, bench.compare.fine_tune, bench.compare.fine_tune_steps, agent_of(run), run.fine_tuned)
    later = [Point(steps + point.real_steps, seconds + point.seconds, point.returns) for point in way]
    return replace(before, points=(before.final, *later))


def _way(
    bench: Bench, play: RealPlaySettings, budget: int, begin: Agent | None, keep: Path | None = None
) -> Iterator[Point]:
    """The points of an agent that learns in the real game; the finished one is saved in the folder `keep`."""
    marks = goals(budget, bench.compare.points)
    with ray_here(bench.settings.game.id):
        milestones = learn_for_real(bench.settings, play, marks, bench.progress, begin)
        for number, milestone in enumerate(milestones, start=1):
            finished = number == len(marks)
            if finished and keep:
                save_policy(keep, milestone.agent.policy)
            returns = bench.judge(milestone.agent, finished)
            yield Point(milestone.steps, milestone.seconds, returns)


def _fresh_rllib(bench: Bench, done: Done) -> RowResult:
    before, run, begun = _imagined(done), bench.finished_run(), monotonic()
    with ray_here(bench.settings.game.id):
        fresh = fresh_rllib(run, run.settings.imagine, bench.progress)
    return _after(before, fresh.steps, monotonic() - begun, bench.judge(fresh.agent))


def _fresh_torch(bench: Bench, done: Done) -> RowResult:
    before, run, begun = _imagined(done), bench.finished_run(), monotonic()
    player, steps = fresh_torch(run, bench.progress)
    return _after(before, steps, monotonic() - begun, bench.judge(player))


def _after(before: RowResult, steps: int, seconds: float, returns: tuple[float, ...]) -> RowResult:
    """Of an agent that learned from `steps` more imagined steps, in what the agent of `before` had a share in."""
    final = replace(before.final, seconds=before.final.seconds + seconds, returns=returns)
    return replace(before, points=(final,), imagined_steps=before.imagined_steps + steps)


def _imagined(done: Done) -> RowResult:
    if "imagination" not in done:
        raise UserError("the other rows are given the real steps of imagination: put imagination into --rows.")
    return done["imagination"]


_ROWS: dict[RowName, Play] = {
    "imagination": _imagination,
    "random": _random,
    "model_free": _model_free,
    "model_free_more": _model_free_more,
    "fine_tuned": _fine_tuned,
    "ceiling": _ceiling,
    "fresh_rllib": _fresh_rllib,
    "fresh_torch": _fresh_torch,
}
_RUNS: tuple[RowName, ...] = ("imagination", "ceiling")
"""those that are runs of Dyna"""
ROWS: tuple[RowName, ...] = tuple(_ROWS)
"""in the order in which they are played"""
