import pytest

from rl.metrics import HORIZONS, METRICS, better
from worldmodel.errors import UserError


def test_what_is_good_of_a_figure():
    assert better("real_return") == better("fidelity/score") == better("fidelity/ssim_dream_30") == "max"
    assert better("fidelity/false_ends") == better("fidelity/end_brier") == better("fidelity/reward_error") == "min"


def test_an_unknown_name_is_answered_with_all_that_there_are():
    with pytest.raises(UserError) as error:
        better("fidelity/ends_fond")
    sentence = str(error.value)
    assert "'fidelity/ends_fond' (did you mean 'fidelity/ends_found'?)" in sentence
    assert all(name in sentence for name in METRICS if not name.endswith(tuple(f"_{h}" for h in HORIZONS)))
    assert "fidelity/dream_changing_H" in sentence and "(H is one of 1, 2, 5, 10, 15, 20, 30)" in sentence


def test_a_name_that_is_like_none_has_no_guess():
    with pytest.raises(UserError, match=r"nothing can be ranked by 'xyz'; known are agent/"):
        better("xyz")
