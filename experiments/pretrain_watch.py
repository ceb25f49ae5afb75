"""Shows how a pre-training under Ray Train goes while this process waits for it."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
from torch.utils.tensorboard import SummaryWriter

from rl.pretrain_board import Word
from rl.progress import Advance, Progress

_UNITS = 1000
"""parts of a stage's budget that a bar counts"""
_SECONDS = 1.0


@contextmanager
def watched(board: Any, progress: Progress, tensorboard: Path) -> Iterator[None]:
    """Within, what workers write on `board` is shown and logged."""
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(board, progress, tensorboard, over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(board: Any, progress: Progress, tensorboard: Path, over: threading.Event) -> None:
    with SummaryWriter(str(tensorboard)) as log, ExitStack() as phase:
        show, last = _Show(progress, log, phase), False
        while not last:
            last = over.wait(_SECONDS)
            for word in ray.get(board.take.remote()):
                show.see(word)


class _Show:
    def __init__(self, progress: Progress, log: SummaryWriter, phase: ExitStack) -> None:
        self._progress, self._log, self._phase = progress, log, phase
        self._stage, self._done = "", 0
        self._advance: Advance

    def see(self, word: Word) -> None:
        """Show a word of a worker."""
        if word.stage != self._stage:
            self._begin(word.stage)
        done = int(_UNITS * word.progress)
        self._advance(max(done - self._done, 0), updates=word.updates, **word.losses)
        self._done = done
        for name, value in word.losses.items():
            self._log.add_scalar(f"{word.stage}/{name}", value, word.updates)

    def _begin(self, stage: str) -> None:
        self._phase.close()
        self._stage, self._done = stage, 0
        self._advance = self._phase.enter_context(self._progress.phase(stage, _UNITS))
