"""The tables of a benchmark."""

import statistics
from collections.abc import Iterator, Sequence

from rich.table import Table

from experiments.speed.agent import Learned
from experiments.speed.imagination import Imagined
from experiments.speed.judging import Judged
from experiments.speed.paths import ALL, Ablated
from experiments.speed.pictures import Pictured
from experiments.speed.precision import Strayed
from experiments.speed.record import Benchmark
from experiments.speed.timing import Rate
from experiments.speed.training import Trained
from experiments.table import new_table

_GIGA = 1e9


def tables(benchmark: Benchmark) -> Iterator[Table]:
    """One for every part that was measured."""
    yield _limits(benchmark)
    if benchmark.games or benchmark.buffer:
        yield _real(benchmark)
    if benchmark.training:
        yield _training(benchmark.training)
    if benchmark.pictures:
        yield _pictures(benchmark.pictures)
    if benchmark.imagination:
        yield _imagination(benchmark.imagination)
        yield _split(benchmark.imagination)
    if benchmark.paths:
        yield _paths(benchmark.paths)
    if benchmark.agents:
        yield _agents(benchmark.agents)
    if benchmark.round:
        yield _round(benchmark.round)
    if benchmark.judging:
        yield _judging(benchmark.judging)
    if benchmark.precision:
        yield _precision(benchmark.precision)


def _limits(benchmark: Benchmark) -> Table:
    table = _numbers(
        "What this device did at most, a second",
        "as it was for",
        "float32, GFLOP",
        "bfloat16, GFLOP",
        "copied, GB",
        "memory of the part, MB",
    )
    for part, origin in benchmark.origins.items():
        roofline = origin.roofline
        rates = (f"{rate / _GIGA:,.0f}" for rate in (roofline.float32, roofline.bfloat16))
        held = "" if origin.memory_mb is None else f"{origin.memory_mb:,.0f}"
        table.add_row(part, *rates, f"{roofline.bandwidth / _GIGA:,.1f}", held)
    table.caption = ", ".join(f"{name} {value}" for name, value in benchmark.machine.items() if value != "")
    return table


def _real(benchmark: Benchmark) -> Table:
    table = _numbers("Real play", "", "a second", "middle half")
    rows = {f"{game}, steps of 8 games": rate for game, rate in benchmark.games.items()}
    if benchmark.buffer:
        rows |= {"buffer, steps written": benchmark.buffer.written, "buffer, windows drawn": benchmark.buffer.sampled}
    for name, rate in rows.items():
        table.add_row(name, f"{rate.per_second:,.0f}", _spread(rate))
    return table


def _training(trained: Sequence[Trained]) -> Table:
    table = _numbers(
        "Training: predicted frames a second",
        "family",
        "batch x unroll",
        "plain",
        "ours",
        "ratio",
        "of the limit",
        "MB",
    )
    for one in trained:
        rates = (one.rates[way].per_second for way in ("plain", "ours"))
        table.add_row(
            one.family,
            f"{one.batch} x {one.unroll}",
            *(f"{rate:,.0f}" for rate in rates),
            f"{one.ratio:.2f}",
            f"{one.rates['ours'].per_second / one.roofline:.0%}",
            f"{one.memory_mb:,.0f}",
        )
    return table


def _pictures(pictured: Pictured) -> Table:
    table = _numbers(
        "The autoencoder of the preset pong: pictures a second to learn from",
        "pixels taken as one",
        "a second",
        "middle half",
    )
    sides = {"pixels": 1, "squares": pictured.patch_size}
    for name, rate in pictured.rates.items():
        table.add_row(f"{sides[name]} x {sides[name]}", f"{rate.per_second:,.1f}", _spread(rate))
    table.caption = f"{pictured.ratio:.2f} times as fast"
    return table


def _imagination(imagined: Sequence[Imagined]) -> Table:
    table = _numbers(
        "Imagined steps a second, agent included", "family", "calls a frame", "dreams", "plain", "plain, compiled",
        "ours", "ratio", "to compiled", "of the limit", "of the best", "MB",
    )  # fmt: skip
    best = {
        (one.family, one.calls): max(
            other.rates["ours"].per_second
            for other in imagined
            if (other.family, other.calls) == (one.family, one.calls)
        )
        for one in imagined
    }
    for one in imagined:
        compiled, ours = one.rates.get("plain, compiled"), one.rates["ours"].per_second
        table.add_row(
            one.family,
            str(one.calls),
            str(one.dreams),
            f"{one.rates['plain'].per_second:,.1f}",
            f"{compiled.per_second:,.1f}" if compiled else "",
            f"{ours:,.1f}",
            f"{one.ratio('plain'):.2f}",
            f"{one.ratio('plain, compiled'):.2f}" if compiled else "",
            f"{ours / one.roofline:.0%}",
            f"{ours / best[one.family, one.calls]:.0%}",
            f"{one.memory_mb:,.0f}",
        )
    return table


def _split(imagined: Sequence[Imagined]) -> Table:
    parts = list(dict.fromkeys(part for one in imagined for part in one.milliseconds))
    table = _numbers(
        "Where an imagined step's time goes, ms for all dreams", "family", "calls a frame", "dreams", *parts
    )
    for one in imagined:
        spent = (f"{one.milliseconds[part]:.1f}" for part in parts)
        table.add_row(one.family, str(one.calls), str(one.dreams), *spent)
    return table


def _paths(ablated: Sequence[Ablated]) -> Table:
    table = _numbers(
        "What each fast path is worth: imagined steps a second without it", "family", "calls a frame", "dreams",
        "left out", "steps", "all together are so many times as fast",
    )  # fmt: skip
    for one in ablated:
        for path, rate in one.rates.items():
            worth = "" if path == ALL else f"{one.worth(path):.2f}"
            row = (one.family, str(one.calls), str(one.dreams), path, f"{rate.per_second:,.1f}", worth)
            table.add_row(*row)
    return table


def _agents(learned: Sequence[Learned]) -> Table:
    table = _numbers(
        "Agents in dreams that cost nothing: imagined steps a second, one epoch", "agent", "observation", "bare torch",
        "stock RLlib", "ours", "time, of bare torch's", "time, of stock RLlib's",
    )  # fmt: skip
    for one in learned:
        rates = (f"{one.rates[way].per_second:,.0f}" for way in ("bare torch", "stock RLlib", "ours"))
        shares = (f"{one.times(way):.2f}" for way in ("bare torch", "stock RLlib"))
        table.add_row(one.agent, "x".join(map(str, one.shape)), *rates, *shares)
    return table


def _round(phases: dict[str, float]) -> Table:
    table = _numbers("A small round of Dyna (CartPole, --smoke)", "phase", "seconds")
    for phase, seconds in phases.items():
        table.add_row(phase, f"{seconds:.1f}")
    table.add_row("all", f"{sum(phases.values()):.1f}")
    return table


def _judging(judging: Sequence[Judged]) -> Table:
    table = _numbers(
        "Judging agents beside the learning: seconds of a small first round", "learned, of what one core learns",
        "one after the other", "beside", "ratio",
    )  # fmt: skip
    for one in judging:
        seconds = (f"{statistics.median(way):.1f}" for way in (one.in_turn, one.beside))
        table.add_row(f"{one.learning:.0%}", *seconds, f"{one.ratio:.2f}")
    return table


def _precision(strayed: Strayed) -> Table:
    steps = [1, 2, 5, 10, len(next(iter(strayed.median.values())))]
    table = _numbers("Dreams beside those in float32: PSNR by steps dreamed, dB", "arithmetic", *map(str, steps))
    for way in strayed.median:
        for name, psnr in ((f"{way}, median", strayed.median[way]), (f"{way}, lowest", strayed.lowest[way])):
            table.add_row(name, *(f"{psnr[step - 1]:.1f}" for step in steps))
    table.caption = f"same weights ({strayed.world_model}), same noise, same actions"
    return table


def _numbers(title: str, first: str, *columns: str) -> Table:
    table = new_table(title, first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _spread(rate: Rate) -> str:
    return f"{rate.low:,.0f} to {rate.high:,.0f}"
