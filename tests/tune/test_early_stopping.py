"""Which trials are given up, by Ray Tune's scheduler without Ray."""

import math
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from tune.early_stopping import EarlyStopping
from tune.sweep import _halving
from worldmodel.errors import UserError

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP
ROUNDS = 4


def decide(reached, mode="max", rounds=(1,)):
    """What is decided of trials that come to these figures one after another, after each of the rounds."""
    scheduler = _halving(EarlyStopping(grace=1, reduction=2.0), ROUNDS)
    scheduler.set_search_properties("dyna/fidelity/score", mode)
    trials = [SimpleNamespace(trial_id=str(number)) for number in range(len(reached))]
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    return [
        scheduler.on_trial_result(None, trial, {"training_iteration": number, "dyna/fidelity/score": figure})
        for number in rounds
        for trial, figure in zip(trials, reached, strict=True)
    ]


def test_the_first_goes_on_and_later_ones_only_if_they_are_among_the_best():
    assert decide([20.0, 10.0, 30.0, 15.0]) == [CONTINUE, STOP, CONTINUE, STOP]
    assert decide([20.0, 10.0, 30.0, 15.0], mode="min") == [CONTINUE, CONTINUE, STOP, CONTINUE]


def test_what_was_not_measured_stops_nobody():
    assert decide([math.nan, 10.0, math.nan, 5.0]) == [CONTINUE, CONTINUE, CONTINUE, STOP]


def test_every_trial_ends_with_its_last_round():
    assert decide([20.0], rounds=range(1, ROUNDS + 1)) == [CONTINUE, CONTINUE, CONTINUE, STOP]


@pytest.mark.parametrize(
    ("stopping", "sentence"),
    [
        (EarlyStopping(grace=4), "grace is 4 and rounds is 4, so no trial could be stopped"),
        (EarlyStopping(grace=0), "grace must be more than 0"),
        (EarlyStopping(reduction=1.0), "reduction must be more than 1"),
    ],
)
def test_what_would_stop_nothing_is_refused(stopping, sentence):
    with pytest.raises(UserError, match=sentence):
        stopping.check(ROUNDS)


def test_what_can_stop_something_is_not():
    EarlyStopping(grace=3, reduction=1.5).check(ROUNDS)
