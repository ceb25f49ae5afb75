"""A whole comparison in miniature: every row, and what is counted behind it."""

import numpy as np
import pytest
from miniature import MINIATURE
from rich.console import Console

from experiments import frozen
from experiments.bench import Bench, agent_of, world_model_of
from experiments.comparison import CompareSettings
from experiments.frozen_results import Frozen
from experiments.rows import ROWS, play_row
from rl.settings import RealPlaySettings

PLAY = RealPlaySettings(envs=2, rollout=8, minibatch=16, epochs=1)
COMPARE = CompareSettings(times=2, points=2, episodes=5, play=PLAY, fine_tune=PLAY, fine_tune_steps=60)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Every row of one seed, and where it was played."""
    folder = tmp_path_factory.mktemp("runs")
    bench = Bench(MINIATURE, COMPARE, folder / "run", folder / "ceiling", Console(quiet=True))
    done = {}
    for row in ROWS:
        done[row] = play_row(row, bench, done)
    return done, bench


@pytest.mark.slow
def test_real_steps_are_counted_honestly(whole):
    done, bench = whole
    ours = done["imagination"].final.real_steps
    assert ours == bench.finished_run().reports()[-1].real_steps >= 300
    assert done["random"].final.real_steps == 0
    for row, budget in (("model_free", ours), ("model_free_more", 2 * ours)):
        assert budget <= done[row].final.real_steps < budget + PLAY.minibatch + PLAY.envs
        assert done[row].imagined_steps == 0
    assert 60 <= done["fine_tuned"].final.real_steps - ours < 60 + PLAY.minibatch + PLAY.envs
    ceiling = bench.finished_run("real").reports()[-1]
    assert done["ceiling"].final.real_steps == ceiling.real_steps + ceiling.imagined_steps
    for row in ("fresh_rllib", "fresh_torch"):
        assert done[row].final.real_steps == ours


@pytest.mark.slow
def test_all_are_judged_by_the_same_games(whole):
    done, bench = whole
    assert {len(result.final.returns) for result in done.values()} == {COMPARE.episodes}
    assert {len(point.returns) for point in done["model_free"].points[:-1]} == {MINIATURE.evaluate.episodes}
    again = bench.judge(agent_of(bench.finished_run()))
    assert again == done["imagination"].final.returns
    last = bench.finished_run().reports()[-1].after.returns
    assert again[: len(last)] == last, "the agent that was saved is the one that the run judged"


@pytest.mark.slow
def test_points_lie_on_the_way(whole):
    done, _ = whole
    for row in ("imagination", "model_free", "model_free_more", "fine_tuned", "ceiling"):
        points = done[row].points
        assert len(points) >= 2
        assert all(np.diff([point.real_steps for point in points]) > 0)
        assert all(np.diff([point.seconds for point in points]) > 0)
    assert done["fine_tuned"].points[0] == done["imagination"].final


@pytest.mark.slow
def test_fresh_agents_leave_the_run_as_it_is(whole):
    done, bench = whole
    before = {path: path.read_bytes() for path in bench.run_path.rglob("*") if path.is_file()}
    play_row("fresh_torch", bench, done)
    assert {path: path.read_bytes() for path in bench.run_path.rglob("*") if path.is_file()} == before
    assert world_model_of(bench.finished_run()).is_dir()
    for row in ("fresh_torch", "fresh_rllib"):
        assert done[row].imagined_steps >= done["imagination"].imagined_steps + MINIATURE.imagine.steps
        assert done[row].final.seconds > done["imagination"].final.seconds


@pytest.mark.slow
def test_agents_in_a_frozen_model_learn_as_their_rows_say_and_leave_it_as_it_is(whole, tmp_path):
    _, bench = whole
    before = {path: path.read_bytes() for path in bench.run_path.rglob("*") if path.is_file()}
    rows = ("all", "short_dreams", "half_imagined", "only_beginnings")
    results = tmp_path / "frozen.json"
    assert frozen.main([str(bench.run_path), "--rows", *rows, "--results", str(results)]) == 0
    assert {path: path.read_bytes() for path in bench.run_path.rglob("*") if path.is_file()} == before
    found = {row: Frozen.read(results).of(row)[str(MINIATURE.seed)] for row in rows}
    life, rollout = MINIATURE.rounds * MINIATURE.imagine.steps, MINIATURE.imagine.dreams * MINIATURE.imagine.rollout
    for row, steps in {"all": life, "short_dreams": life, "half_imagined": life / 2, "only_beginnings": life}.items():
        assert steps <= found[row].imagined_steps < steps + rollout, row
        assert len(found[row].returns) == MINIATURE.evaluate.episodes
    assert found["short_dreams"].imagined_length == 1 < found["all"].imagined_length <= MINIATURE.imagine.horizon
