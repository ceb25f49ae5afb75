"""The world model's learner: a persistent actor that keeps the model, on the GPU if there is one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from envs.neural_vector import STARTS_FILE
from rl.gpu_memory import take_peak_mb
from rl.metrics import HORIZONS
from rl.round_report import Film
from worldmodel.data.reader import BufferReader
from worldmodel.data.starts import draw_starts, save_starts
from worldmodel.data.windows import Windows
from worldmodel.families import ModelConfig, fitter_of, new_world_model, read_world_model
from worldmodel.fidelity import Fidelity, score
from worldmodel.fitting import FitConfig, Fitter, Stage
from worldmodel.latent.model import LatentWorldModel
from worldmodel.metrics.losses import held_out_losses
from worldmodel.metrics.replay import Replay, draw_replay, replay
from worldmodel.spaces import ActionSpec

_JUDGED = 32
_SAVED_STARTS = 32


@dataclass(frozen=True, eq=False)
class Judgement:
    """How good the world model is on held-out play.

    Attributes:
        fidelity: Its scores.
        incumbent: Those of another model on the very same play, if it was to be held against one.
        losses: What it is trained on, on that play; see `held_out_losses`.
        films: Some of the dreams.
    """

    fidelity: Fidelity
    incumbent: Fidelity | None
    losses: dict[str, float]
    films: tuple[Film, ...]


class WorldModelLearner:
    """Fits a world model to a buffer, stage by stage, and hands out what it has learned."""

    def __init__(
        self,
        model: ModelConfig,
        fit: FitConfig,
        action_spec: ActionSpec,
        buffer: Path,
        seed: int,
        threads: int,
        lives_end: bool = False,
        on_gpu: bool = True,
    ) -> None:
        """An untrained model.

        Args:
            model: What defines it.
            fit: How it is fitted.
            action_spec: The game's actions.
            buffer: Where the game's play is, or will be.
            seed: Seeds every random choice.
            threads: Torch's, on the CPU.
            lives_end: As in `BufferReader`.
            on_gpu: Fit it on the GPU, if there is one: Ray may hide it from nobody.
        """
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self._device = torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu")
        self._config, self._seed, self._buffer, self._lives_end = fit, seed, buffer, lives_end
        self._model = new_world_model(model, action_spec).to(self._device).eval()
        self._fitter: Fitter | None = None

    def stages(self, first: bool) -> list[Stage]:
        """What a round of fitting consists of; `first` says whether the model is still untrained."""
        return self._fitting().stages(first)

    def begin(self, stage: Stage, number: int, again: int = 0) -> int:
        """Prepare a stage of round `number`, `again` if it was done before in the round.

        Returns:
            How many parameters the round has trained with it.
        """
        parts = (number, stage.name, again) if again else (number, stage.name)
        self._fitting().begin(stage, hash_seed(self._seed, *parts))
        return self._fitting().trained_parameters()

    def fit(self, steps: int) -> dict[str, float]:
        """Take `steps` updates. Returns the mean of every loss."""
        return self._fitting().fit(steps)

    def finish(self) -> None:
        """End the stage."""
        self._fitting().finish()

    def ends_recalled(self) -> float | None:
        """See `Fitter.ends_recalled`."""
        return self._fitting().ends_recalled()

    def parameters(self) -> int:
        """All of the model's parameters."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """The whole model with the adapter worked in, for a model that has none; as NumPy, which Ray ships uncopied."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in self._model.fused_state().items()}

    def encoded(self, frame_ids: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """See `Fitter.encoded`; the learner has met most of the frames before."""
        latents = self._fitting().encoded(frame_ids)
        return None if latents is None else latents.contiguous().cpu().numpy()

    def take_gpu_peak(self) -> float | None:
        """See `take_peak_mb`."""
        return take_peak_mb(self._device)

    def save(self, folder: Path) -> None:
        """Write the model to `folder`, with a few starts if there is any play, so that it can be played by itself."""
        self._model.save_pretrained(folder)
        reader = self._play()
        if reader.episodes:
            rng = np.random.default_rng([self._seed, reader.num_chunks])
            save_starts(folder / STARTS_FILE, draw_starts(reader, _SAVED_STARTS, self._model.context, rng))

    def load(self, folder: Path) -> None:
        """Go on with the model in `folder`."""
        self._model = read_world_model(folder).to(self._device)
        self._fitter = None

    def judge(self, films: int, incumbent: Path | None = None) -> Judgement:
        """Dream through held-out play: the same starts and the same noise every time that the play is the same.

        Args:
            films: How many dreams to show.
            incumbent: The folder of a model to hold it against: what another round was judged by is other play.
        """
        reader = self._play()
        windows = draw_replay(reader, self._model.context, max(HORIZONS), _JUDGED, self._seed)
        seen = replay(self._model, reader, windows, self._seed)
        off = self._without_adapter(reader, windows)
        other = incumbent and replay(read_world_model(incumbent).to(self._device), reader, windows, self._seed)
        return Judgement(
            fidelity=score(seen, HORIZONS, off),
            incumbent=score(other, HORIZONS) if other else None,
            losses=held_out_losses(self._model, reader, self._seed),
            films=tuple(_film(seen, index) for index in _longest(seen, films)),
        )

    def _without_adapter(self, reader: BufferReader, windows: Windows) -> Replay | None:
        model = self._model
        if not isinstance(model, LatentWorldModel) or not model.adapted:
            return None
        with model.adapter_off():
            return replay(model, reader, windows, self._seed)

    def _play(self) -> BufferReader:
        return BufferReader(self._buffer, lives_end=self._lives_end)

    def _fitting(self) -> Fitter:
        if self._fitter is None:
            failures = self._buffer.parent / "failures"
            self._fitter = fitter_of(self._model, self._config, self._play(), self._device, failures)
        return self._fitter


LearnerActor = ray.remote(num_cpus=0)(WorldModelLearner)
"""A `WorldModelLearner` on Ray."""


def hash_seed(*parts: int | str) -> int:
    """One seed out of several, the same on every machine."""
    words = [part if isinstance(part, int) else int.from_bytes(part.encode()[:8], "little") for part in parts]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def _longest(seen: Replay, count: int) -> list[int]:
    return seen.mask.sum(1).topk(min(count, len(seen.mask))).indices.tolist()


def _film(seen: Replay, index: int) -> Film:
    length = int(seen.mask[index].sum())
    return Film(seen.real[index, :length].cpu().numpy(), seen.dream[index, :length].cpu().numpy())
