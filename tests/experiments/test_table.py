import io
from dataclasses import replace

from reports import make_report
from rich.console import Console

from experiments.results import Results, SeedResult
from experiments.table import print_tables
from rl.settings import Settings


def shown(reports, references=()) -> str:
    text = io.StringIO()
    print_tables(Console(file=text, width=80), Settings(), reports, references, seconds=61.0)
    return text.getvalue()


def ceiling(*seeds_last: tuple[float, ...]) -> Results:
    seeds = {str(seed): SeedResult((9.0,), (9.0,), ((1.0,), last), 1, 1, 1.0) for seed, last in enumerate(seeds_last)}
    return Results("CartPole-v1", "real", "command", "machine", {}, seeds)


def row(text: str, start: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return next(line.removeprefix(start).split() for line in lines if line.startswith(start))


def test_every_player_has_its_row():
    text = shown([make_report(1, 50.0), make_report(2, 90.0)])
    assert row(text, "random policy")[0] == "20.0"
    assert row(text, "agent before any imagination")[0] == "21.0"
    assert row(text, "agent after round 1")[0] == "50.0"
    mean, low, to, high, games = row(text, "agent after round 2")
    assert (mean, to, games) == ("90.0", "to", "3")
    assert 89.0 <= float(low) < 90.0 < float(high) <= 91.0


def test_steps_so_far_phases_and_their_sum():
    text = shown([make_report(1), make_report(2)])
    assert row(text, "real steps so far") == ["1,000", "2,000"]
    assert row(text, "real steps that judged, so far") == ["77", "154"]
    assert row(text, "imagined steps so far") == ["65,536", "131,072"]
    assert row(text, "fit, s") == ["20.0", "20.0"]
    assert row(text, "whole round, s") == ["51.5", "51.5"]
    assert "61 s since" in text


def test_the_steps_that_trained_an_expert_count():
    text = shown([replace(make_report(1), expert_steps=5000)])
    assert row(text, "+ those that trained the expert") == ["5,000"]
    assert "1,000 real steps (+ 5,000 that trained the expert) were learned from" in text
    assert "expert" not in shown([make_report(1)])


def test_how_fast_a_round_went_is_shown_where_it_was_kept():
    told = {"rate/real_steps": 1234.5, "rate/updates": 7.0, "rate/imagined_steps": 2345.0, "gpu_mb/agent": 812.0}
    text = shown([make_report(1), replace(make_report(2), scalars=told)])
    assert row(text, "real steps a second") == ["1,234.5"]
    assert row(text, "world-model updates a second") == ["7.0"]
    assert row(text, "imagined steps a second") == ["2,345.0"]
    assert row(text, "GPU memory of the agent at most, MB") == ["812"]
    assert "of the learner" not in text
    assert "a second" not in shown([make_report(1)])


def test_how_the_agent_learned_is_shown_where_it_was_kept():
    older, newer = make_report(1), make_report(2)
    told = {"agent/entropy": 0.6931, "agent/kl": 0.00123, "agent/policy_loss": -0.01, "agent/value_loss": 1.5}
    text = shown([older, replace(newer, scalars=told | {"agent/explained_variance": 0.875})])
    assert row(text, "entropy of the policy") == ["0.693"]
    assert row(text, "KL divergence from the policy that played") == ["0.00123"]
    assert row(text, "policy loss") == ["-0.01"]
    assert row(text, "value loss") == ["1.5"]
    assert row(text, "explained variance of the values") == ["0.875"]
    assert "How the agent learned" not in shown([older])


def test_fidelity_shows_every_curve():
    text = shown([make_report(1)])
    assert row(text, "dream ") == ["31.5", "30.0"]
    assert row(text, "last frame copied, changing pixels") == ["12.0", "10.0"]
    assert row(text, "dream, adapter off ") == ["29.0", "28.0"]
    assert row(text, "autoencoder (ceiling) ") == ["41.0", "41.0"]
    assert "7 of 10 real ends" in text
    assert "1.5% of the other steps" in text


def test_structural_similarity_shows_every_curve_where_it_was_measured():
    ssim = shown([make_report(1)]).partition("SSIM by steps dreamed")[2]
    assert row(ssim, "dream ") == ["0.940", "0.830"]
    assert row(ssim, "dream, changing pixels") == ["0.720", "0.610"]
    assert row(ssim, "last frame copied ") == ["0.900", "0.800"]
    assert row(ssim, "last frame copied, changing pixels") == ["0.500", "0.400"]
    assert row(ssim, "autoencoder (ceiling) ") == ["0.990", "0.980"]
    assert row(ssim, "autoencoder (ceiling), changing pixels") == ["0.970", "0.960"]
    older = replace(make_report(), fidelity=replace(make_report().fidelity, ssim=None))
    assert "SSIM" not in shown([older]) and "PSNR" in shown([older])


def test_ends_are_told_beside_what_chance_would_reach():
    text = " ".join(shown([make_report()]).split())
    assert "End (1 in play): expected recall 75.0%, precision 50.0%; by chance 25.0% each." in text
    assert "Reward above 0 (1 in play): expected recall 50.0%, precision 50.0%; by chance 33.3% each." in text
    older = replace(make_report(), fidelity=replace(make_report().fidelity, end=None))
    assert "End (" not in shown([older])


def test_without_an_adapter_or_a_world_model_there_is_no_row():
    report = make_report(1)
    whole = replace(report, fidelity=replace(report.fidelity, adapter_off=None, adapter_off_changing=None))
    assert "adapter off" not in shown([whole])
    assert "PSNR" not in shown([replace(report, fidelity=None)])


def test_parameters_are_the_last_rounds():
    assert "1,234 of 56,789 parameters trained in round 2" in shown([make_report(1), make_report(2)])


def test_a_reference_is_as_sure_as_its_seeds_agree():
    text = shown([make_report(1)], [ceiling((400.0, 500.0), (300.0, 320.0), (450.0, 450.0))])
    mean, low, _, high, games = row(text, "ceiling: the real game dreamed (3 seeds)")
    assert (mean, low, high, games) == ("403.3", "310.0", "450.0", "6")


def test_a_reference_of_one_seed_is_as_sure_as_its_games_agree():
    text = shown([make_report(1)], [ceiling((400.0, 500.0))])
    mean, low, _, high, games = row(text, "ceiling: the real game dreamed (1 seeds)")
    assert (mean, low, high, games) == ("450.0", "400.0", "500.0", "2")
