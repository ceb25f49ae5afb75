"""What `experiments/fidelity.py` measures, one after another."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console

from experiments.config import read_config
from experiments.fidelity_results import FidelityResults, RoundAlarms, TrainingGap
from experiments.progress import ConsoleProgress
from experiments.provenance import commit, machine
from rl.correlation import correlate
from rl.policies import load_policy
from rl.promise import Promise, Promises
from rl.ranking import Arena, Standing, contenders
from rl.round_report import Film, load_report
from rl.run_folder import finished_rounds
from rl.settings import Settings
from worldmodel.base import WorldModel
from worldmodel.data.reader import BufferReader
from worldmodel.data.starts import StartMix, draw_starts
from worldmodel.errors import UserError
from worldmodel.families import load_world_model
from worldmodel.metrics.alarms import alarms
from worldmodel.metrics.control import controllability
from worldmodel.metrics.extractors import Extractor, distance_of, feature_extractor
from worldmodel.metrics.frechet import FrechetScores, fid, fvd
from worldmodel.metrics.outcomes import free_outcomes, held_out_outcomes
from worldmodel.metrics.pictures import PSNR, SSIM, Metric, lpips, score_pictures
from worldmodel.metrics.replay import Replay, draw_replay, replay

if TYPE_CHECKING:
    from experiments.fidelity import Options

_FILMS = 4
_FILM_FRAMES = 24
_STARTS = 64
_MOMENTS = 256
"""moments of an agent's real games that dreams go on from"""
_SIDE_BY_SIDE = 8
"""games that the agent plays at a time for it"""
_HORIZONS = 8
"""steps that it plays in each, in lengths of such a dream"""


@dataclass(frozen=True, eq=False)
class Measured:
    """What was found out, and pictures to look at."""

    results: FidelityResults
    films: tuple[Film, ...]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is judged.

    Attributes:
        run: The run's folder.
        settings: The run's.
        round: Whose world model it is.
        model: The world model, ready to dream.
        reader: The run's play.
    """

    run: Path
    settings: Settings
    round: int
    model: WorldModel
    reader: BufferReader

    @property
    def folder(self) -> Path:
        """The round's folder."""
        return self.run / "rounds" / f"{self.round:03d}"

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device


@dataclass(frozen=True, eq=False)
class Networks:
    """Those that the user brought."""

    metrics: tuple[Metric, ...]
    fid: Extractor | None
    fvd: Extractor | None


def measure(options: "Options", command: str, console: Console) -> Measured:
    """Measure everything, telling how it goes.

    Raises:
        UserError: If the run has no such round or no held-out play, or a network does not suit.
    """
    subject = open_subject(options.run.absolute(), options.round)
    networks = _networks(options, subject)
    progress = ConsoleProgress(console)
    model, reader, seed = subject.model, subject.reader, options.seed
    windows = draw_replay(reader, model.context, options.horizon, options.dreams, seed)
    horizons = _horizons(options.horizon)
    with progress.phase("dream freely", 1):
        seen = replay(model, reader, windows, seed)
    with progress.phase("score pictures", 1):
        free = score_pictures(seen, horizons, networks.metrics)
        frechet = tuple(_frechet(seen, networks, options.clip))
    films, told_freely = _films(seen), free_outcomes(seen)
    del seen
    with progress.phase("dream step by step", 1):
        forced = score_pictures(replay(model, reader, windows, seed, forced=True), horizons, networks.metrics)
    with progress.phase("obey", 1):
        control = controllability(model, reader, options.dreams, seed, options.control_horizon)
    with progress.phase("ends and rewards", 1):
        outcomes = (*held_out_outcomes(model, reader, options.steps, seed), told_freely)
    with progress.phase("doubt", 1):
        alarmed = tuple(_alarms(subject, seed))
    standings = tuple(_standings(options, subject, progress)) if options.games else ()
    promise = _promise(subject, seed, progress) if options.games else None
    results = FidelityResults(
        game=subject.settings.game.id,
        run=subject.run.name,
        round=subject.round,
        command=command,
        machine=machine(),
        commit=commit(),
        starts=options.dreams,
        free=free,
        forced=forced,
        frechet=frechet,
        control=control,
        outcomes=outcomes,
        standings=standings,
        correlation=correlate([s.dreamed.mean for s in standings], [s.real.mean for s in standings]),
        promise=promise,
        alarms=alarmed,
        training=tuple(TrainingGap.of(load_report(f / "report.json")) for f in finished_rounds(subject.run)),
    )
    return Measured(results, films)


def open_subject(run: Path, number: int | None) -> Subject:
    """A round's world model, or the best one, and the play that it is judged by.

    Raises:
        UserError: If there is no such round, or a file is damaged.
    """
    settings = read_config(run / "config.json", Settings())
    world_model = _world_model(run, number)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reader = BufferReader(run / "buffer", lives_end=settings.game.atari.life_loss_ends)
    model = load_world_model(world_model).to(device).eval()
    return Subject(run, settings, int(world_model.parent.name), model, reader)


def _world_model(run: Path, number: int | None) -> Path:
    finished = finished_rounds(run)
    if not finished:
        raise UserError(f"{run} has no finished round yet: let it finish one.")
    if number is None:
        best = run / "world_model" / "best"
        return best.resolve() if best.exists() else finished[-1] / "world_model"
    chosen = run / "rounds" / f"{number:03d}"
    if chosen not in finished:
        raise UserError(f"{run} has no round {number}: it has {', '.join(str(int(f.name)) for f in finished)}.")
    return chosen / "world_model"


def _networks(options: "Options", subject: Subject) -> Networks:
    """Load and try out what the user brought, before long work starts."""
    height, width, _ = subject.model.frame_shape
    device = subject.device
    metrics = [PSNR, SSIM]
    if options.lpips:
        metrics.append(lpips(*distance_of(options.lpips, device, (3, height, width))))
    return Networks(
        tuple(metrics),
        feature_extractor(options.fid, device, (3, height, width)) if options.fid else None,
        feature_extractor(options.fvd, device, (3, options.clip, height, width)) if options.fvd else None,
    )


def _frechet(seen: Replay, networks: Networks, clip: int) -> Iterator[FrechetScores]:
    if networks.fid:
        yield fid(seen, networks.fid)
    if networks.fvd:
        yield fvd(seen, networks.fvd, clip)


def _standings(options: "Options", subject: Subject, progress: ConsoleProgress) -> Iterator[Standing]:
    rng = np.random.default_rng(options.seed)
    beginnings = draw_starts(subject.reader, _STARTS, subject.model.context, rng, StartMix(0.0, 0.0, 1.0))
    arena = Arena(
        subject.settings.game,
        subject.folder / "world_model",
        beginnings,
        games=options.games,
        horizon=options.horizon,
        seed=options.seed,
        device=subject.device,
    )
    for contender in contenders(subject.run, options.seed):
        with progress.phase(contender.name, options.games) as advance:
            standing = arena.meet(contender)
            advance(options.games, real=standing.real.mean, dreamed=standing.dreamed.mean)
        yield standing


def _promise(subject: Subject, seed: int, progress: ConsoleProgress) -> Promise:
    horizon = subject.settings.imagine.horizon
    promises = Promises(
        subject.settings.game,
        subject.folder / "world_model",
        subject.model,
        horizon=horizon,
        moments=_MOMENTS,
        signs_alone=subject.settings.signs_alone,
        seed=seed,
        device=subject.device,
    )
    with progress.phase("promise", 1) as advance:
        policy = load_policy(subject.folder / "policy")
        asked = promises.ask(f"round {subject.round}, sampled", policy, _SIDE_BY_SIDE, _HORIZONS * horizon)
        advance(1, real=asked.real.means[-1], dreamed=asked.dreamed.means[-1])
    return asked


def _alarms(subject: Subject, seed: int) -> Iterator[RoundAlarms]:
    """Every round's model is asked, since the newest one has no play after it."""
    for folder in finished_rounds(subject.run):
        model = load_world_model(folder / "world_model").to(subject.device).eval()
        yield RoundAlarms(int(folder.name), alarms(model, subject.reader, int(folder.name) + 1, seed))


def _horizons(longest: int) -> tuple[int, ...]:
    """Powers of two up to the longest, and that."""
    return tuple(sorted({2**power for power in range(longest.bit_length()) if 2**power <= longest} | {longest}))


def _films(seen: Replay) -> tuple[Film, ...]:
    """The longest games, as many frames of each as fit on a page, evenly spaced."""
    lengths = seen.mask.sum(1)
    films = []
    for index in lengths.topk(min(_FILMS, len(lengths))).indices.tolist():
        steps = torch.linspace(0, int(lengths[index]) - 1, min(_FILM_FRAMES, int(lengths[index]))).round().long()
        real, dream = (pictures[index].cpu()[steps].numpy() for pictures in (seen.real, seen.dream))
        films.append(Film(real, dream))
    return tuple(films)
