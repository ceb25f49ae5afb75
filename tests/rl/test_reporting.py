import io
import json
import math
from contextlib import contextmanager
from dataclasses import replace

import pytest
from PIL import Image
from reports import make_fidelity, make_film, make_report
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rl.metrics import HORIZONS, METRICS
from rl.reporting import TensorBoardLog, WatchedProgress, gif, scalars, trial_results, write_metrics
from worldmodel.fidelity import Similarity

CURVES = [
    f"{name}{pixels}" for name in ("dream", "copy_last", "ceiling", "adapter_off") for pixels in ("", "_changing")
]


def read(folder) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    return events.Reload()


def test_scalars_name_every_figure():
    figures = scalars(make_report())
    assert figures["return/agent"] == 50.0
    assert figures["return/random"] == 20.0
    assert figures["return/agent_low"] < 50.0 < figures["return/agent_high"]
    assert figures["steps/evaluation"] == 77
    assert figures["steps/expert"] == 0
    assert figures["seconds/fit"] == 20.0
    assert figures["fidelity/dream_8"] == 30.0
    assert figures["fidelity/adapter_off_changing_8"] == 15.0
    assert (figures["fidelity/ssim_dream_1"], figures["fidelity/ssim_dream_changing_8"]) == (0.94, 0.61)
    assert (figures["fidelity/ssim_copy_last_8"], figures["fidelity/ssim_copy_last_changing_1"]) == (0.8, 0.5)
    assert (figures["fidelity/ssim_ceiling_8"], figures["fidelity/ssim_ceiling_changing_8"]) == (0.98, 0.96)
    assert figures["fidelity/ends_found"] == 0.7
    assert (figures["fidelity/end_precision"], figures["fidelity/end_recall"]) == (0.5, 0.75)
    assert (figures["fidelity/end_brier"], figures["fidelity/end_baseline_brier"]) == (0.0625, 0.1875)
    assert figures["fidelity/end_count"] == 1 and figures["fidelity/end_f1"] == 0.6
    assert (figures["fidelity/reward_above_count"], figures["fidelity/reward_above_precision"]) == (1, 0.5)
    assert figures["fidelity/reward_above_baseline_recall"] == pytest.approx(1 / 3)
    assert (figures["fidelity/reward_error"], figures["fidelity/reward_error_baseline"]) == (0.5, 0.25)
    assert figures["loss/denoiser"] == 0.25


def test_the_score_is_the_mean_over_changing_pixels():
    report = make_report(changing=17.0)
    assert scalars(report)["fidelity/score"] == report.score == 17.0
    assert "fidelity/score" not in scalars(replace(report, fidelity=None))


def test_ray_tune_is_told_every_figure_and_nan_for_what_was_not_measured():
    report = replace(make_report(2), scalars={"imagined/return": 12.0, "loss/denoiser": 0.25})
    told = trial_results(report)
    assert told.items() >= scalars(report).items()
    assert (told["round"], told["real_steps"], told["real_return"]) == (2, 2000, 50.0)
    assert (told["imagined/return"], told["fidelity/score"], told["fidelity/dream_1"]) == (12.0, 20.0, 31.5)
    missing = {name for name in METRICS if math.isnan(told[name])}
    assert {"agent/explained_variance", "fidelity/dream_30", "rate/updates"} <= missing
    assert not {"real_return", "fidelity/end_brier", "fidelity/reward_error", "fidelity/ssim_dream_1"} & missing


def test_what_trials_can_be_ranked_by_is_there_under_that_name():
    measured = replace(make_fidelity(), **dict.fromkeys(CURVES, (1.0,) * len(HORIZONS)), horizons=HORIZONS)
    measured = replace(measured, ssim=Similarity(*[(0.5,) * len(HORIZONS)] * 6))
    others = {name: 1.0 for name in METRICS if name.startswith(("imagined/", "agent/", "rate/"))}
    told = trial_results(replace(make_report(), fidelity=measured, scalars=others))
    assert all(math.isfinite(told[name]) for name in METRICS)


def test_older_reports_have_no_structural_similarity():
    older = replace(make_report(), fidelity=replace(make_report().fidelity, ssim=None))
    assert not any("ssim" in name for name in scalars(older))


def test_what_is_not_finite_is_left_out():
    report = replace(make_report(), scalars={"dream/return": float("nan"), "loss": 1.0})
    assert "dream/return" not in scalars(report)
    assert scalars(report)["loss"] == 1.0


def test_metrics_have_one_line_a_round(tmp_path):
    write_metrics(tmp_path / "metrics.jsonl", [make_report(1), make_report(2)])
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2]
    assert lines[1]["steps/real"] == 2000


def test_tensorboard_shows_scalars_and_videos(tmp_path):
    log = TensorBoardLog(tmp_path, next_round=1)
    log.write(make_report())
    log.close()
    events = read(tmp_path)
    assert events.Scalars("return/agent")[0].value == 50.0
    image = events.Images("dream/0")[0]
    assert (image.width, image.height) == (16, 8)
    assert Image.open(io.BytesIO(image.encoded_image_string)).format == "GIF"


def test_an_unfinished_round_is_taken_back_from_tensorboard(tmp_path):
    for mean in (40.0, 60.0):
        log = TensorBoardLog(tmp_path, next_round=1)
        log.write(make_report(mean=mean))
        log.close()
    assert [event.value for event in read(tmp_path).Scalars("return/agent")] == [60.0]


def test_a_gif_holds_every_frame():
    assert Image.open(io.BytesIO(gif(make_film().video()))).n_frames == 5


class Shown:
    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self.done = 0

    def show(self, figures) -> None:
        self.figures |= figures

    @contextmanager
    def phase(self, name, total):
        def advance(n, **figures):
            self.done += n

        yield advance


def test_watched_progress_reaches_both():
    inner, gauges = Shown(), Shown()
    with WatchedProgress(inner, gauges).phase("fit", 3) as advance:
        advance(2, loss=0.5)
    assert inner.done == 2
    assert gauges.figures == {"fit/loss": 0.5}
