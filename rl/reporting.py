"""A run's figures, where people and machines look for them: TensorBoard, Prometheus and metrics.jsonl."""

import io
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from ray.util.metrics import Gauge
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from rl.metrics import METRICS
from rl.progress import Advance, Progress
from rl.round_report import Film, RoundReport
from rl.statistics import Evaluation
from worldmodel.fidelity import Curve, Fidelity, Similarity
from worldmodel.files import write_whole
from worldmodel.metrics.events import EventScores

_FRAME_MS = 100


def scalars(report: RoundReport) -> dict[str, float]:
    """Every finite number of a report by its name, the same in every place."""
    return {name: value for name, value in _named(report).items() if math.isfinite(value)}


def trial_results(report: RoundReport) -> dict[str, float]:
    """What Ray Tune is told of a round: all its figures, and nan for those of `METRICS` that it did not measure.

    Tune gives up a trial whose results lack what it is ranked by.
    """
    return {
        **dict.fromkeys(METRICS, math.nan),
        **scalars(report),
        "round": report.round,
        "real_steps": report.real_steps,
        "expert_steps": report.expert_steps,
        "imagined_steps": report.imagined_steps,
        "real_return": report.after.mean,
    }


def _named(report: RoundReport) -> dict[str, float]:
    players = {"random": report.random, "before": report.before, "agent": report.after}
    return {
        "steps/real": report.real_steps,
        "steps/expert": report.expert_steps,
        "steps/evaluation": report.evaluation_steps,
        "steps/imagined": report.imagined_steps,
        "parameters/trained": report.parameters_trained,
        "parameters/total": report.parameters_total,
        **{f"restarts/{name}": count for name, count in report.restarts.items()},
        **{f"seconds/{phase}": seconds for phase, seconds in report.seconds.items()},
        **{name: value for player, judged in players.items() if judged for name, value in _return(player, judged)},
        "fidelity/score": _or_nan(report.score),
        **dict(_fidelity(report.fidelity)),
        **report.scalars,
    }


def write_metrics(path: Path, reports: Iterable[RoundReport]) -> None:
    """Write one line of JSON a round."""
    lines = [json.dumps({"round": report.round, **scalars(report)}) + "\n" for report in reports]
    write_whole(path, "".join(lines).encode())


class TensorBoardLog:
    """Scalars and dream-beside-reality videos, by round.

    Args:
        folder: Where TensorBoard reads.
        next_round: Anything logged before for this round or a later one is taken back: it was never finished.
    """

    def __init__(self, folder: Path, next_round: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=next_round)

    def write(self, report: RoundReport) -> None:
        """Log one round."""
        for name, value in scalars(report).items():
            self._writer.add_scalar(name, value, report.round)
        for number, film in enumerate(report.films):
            self._writer._get_file_writer().add_summary(_video(f"dream/{number}", film), report.round)
        self._writer.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._writer.close()


class Gauges:
    """The newest figures on Ray's Prometheus endpoint, as `ray_dyna_round` and `ray_dyna_figure{name=...}`."""

    def __init__(self) -> None:
        self._round = Gauge("dyna_round", "The last finished round.")
        self._figure = Gauge("dyna_figure", "The newest value of each figure.", tag_keys=("name",))

    def write(self, report: RoundReport) -> None:
        """Show one round."""
        self._round.set(report.round)
        self.show(scalars(report))

    def show(self, figures: dict[str, float]) -> None:
        """Show some figures."""
        for name, value in figures.items():
            self._figure.set(value, {"name": name})


class WatchedProgress:
    """A progress whose figures are on the gauges too, as `<phase>/<figure>`, while the phase goes on."""

    def __init__(self, inner: Progress, gauges: Gauges) -> None:
        self._inner = inner
        self._gauges = gauges

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Advance]:
        """A phase that is shown twice."""
        with self._inner.phase(name, total) as inner:

            def advance(n: int, **figures: float) -> None:
                inner(n, **figures)
                self._gauges.show({f"{name}/{figure}": value for figure, value in figures.items()})

            yield advance

    def say(self, sentence: str) -> None:
        """Tell it as the other does."""
        self._inner.say(sentence)


def _return(player: str, judged: Evaluation) -> Iterator[tuple[str, float]]:
    low, high = judged.interval
    yield f"return/{player}", judged.mean
    yield f"return/{player}_low", low
    yield f"return/{player}_high", high


def _fidelity(measured: Fidelity | None) -> Iterator[tuple[str, float]]:
    if measured is None:
        return
    for name, curve in _curves(measured).items():
        for horizon, value in zip(measured.horizons, curve or (), strict=bool(curve)):
            yield f"fidelity/{name}_{horizon}", value
    yield "fidelity/ends_found", measured.ends_dreamed / measured.ends if measured.ends else math.nan
    yield "fidelity/false_ends", measured.false_ends
    for event in (measured.end, *measured.rewards):
        if event is not None:
            name = event.event.removesuffix(" 0").replace(" ", "_")
            yield f"fidelity/{name}_count", event.scores.events
            yield from _event_scores(f"fidelity/{name}", event.scores)
            yield from _event_scores(f"fidelity/{name}_baseline", event.baseline)
    yield "fidelity/reward_error", _or_nan(measured.reward_error)
    yield "fidelity/reward_error_baseline", _or_nan(measured.constant_error)


def _event_scores(name: str, scores: EventScores) -> Iterator[tuple[str, float]]:
    yield f"{name}_precision", _or_nan(scores.drawn_precision)
    yield f"{name}_recall", _or_nan(scores.drawn_recall)
    yield f"{name}_f1", _or_nan(scores.drawn_f1)
    yield f"{name}_brier", _or_nan(scores.brier)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _curves(measured: Fidelity) -> dict[str, Curve | None]:
    return {
        "dream": measured.dream,
        "dream_changing": measured.dream_changing,
        "copy_last": measured.copy_last,
        "copy_last_changing": measured.copy_last_changing,
        "adapter_off": measured.adapter_off,
        "adapter_off_changing": measured.adapter_off_changing,
        "ceiling": measured.ceiling,
        "ceiling_changing": measured.ceiling_changing,
        **_similarity(measured.ssim),
    }


def _similarity(measured: Similarity | None) -> dict[str, Curve | None]:
    if measured is None:
        return {}
    return {
        "ssim_dream": measured.dream,
        "ssim_dream_changing": measured.dream_changing,
        "ssim_copy_last": measured.copy_last,
        "ssim_copy_last_changing": measured.copy_last_changing,
        "ssim_ceiling": measured.ceiling,
        "ssim_ceiling_changing": measured.ceiling_changing,
    }


def _video(tag: str, film: Film) -> Summary:
    # TensorBoard shows an animated GIF where it expects a picture; its own add_video needs a second video library.
    frames = film.video()
    image = Summary.Image(height=frames.shape[1], width=frames.shape[2], colorspace=3, encoded_image_string=gif(frames))
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def gif(frames: NDArray[np.uint8], frame_ms: int = _FRAME_MS) -> bytes:
    """An animated GIF of uint8 (time, height, width, 3), each shown for `frame_ms` milliseconds."""
    first, *rest = [Image.fromarray(frame) for frame in frames]
    data = io.BytesIO()
    first.save(data, "GIF", save_all=True, append_images=rest, duration=frame_ms, loop=0)
    return data.getvalue()
