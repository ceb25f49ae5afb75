import sys
import threading
import time

import numpy as np
import pytest
from misbehaving import BAD_STEP, FAULTS

from envs.patience import time_limit
from envs.real import make_real
from worldmodel.errors import UserError


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_that_tells_where_it_comes_again(fault):
    env = make_real(f"misbehaving:{fault}-v0", 3, frame_size=16, patience=0.2)
    with pytest.raises(UserError) as error:
        env.reset(seed=[5, 6, 7])
        for _ in range(BAD_STEP):
            env.step(np.array([1, 0, 1]))
    sentence = str(error.value)
    assert sentence.startswith(f"misbehaving:{fault}-v0 failed in ")
    assert "of the game with seed 5 (" in sentence
    assert sentence.endswith("): mend the game, or choose another.")
    assert "\n" not in sentence
    error.match(FAULTS[fault])


def test_what_does_nothing_wrong_goes_on():
    env = make_real("misbehaving:Walk-v0", 2, frame_size=16, patience=5.0)
    env.reset(seed=0)
    for _ in range(50):
        _, rewards, terminated, _, _ = env.step(np.array([0, 1]))
    assert rewards.tolist() == [1, 1]
    assert not terminated.any()


@pytest.mark.parametrize("action", [-1, 2, 99])
def test_an_action_that_there_is_not_is_refused_with_the_seed_and_step(action):
    env = make_real("misbehaving:Walk-v0", 2, frame_size=16)
    env.reset(seed=[8, 9])
    with pytest.raises(UserError, match=rf"step\({action}\) at step 1 of the game with seed 9 .*2 actions"):
        env.step(np.array([0, action]))


def test_a_game_that_can_not_be_opened_is_told():
    with pytest.raises(UserError, match=r"misbehaving:Opening-v0 could not be opened \(OSError: no such level\)"):
        make_real("misbehaving:Opening-v0", 1)


@pytest.mark.parametrize(
    ("text", "reason"), [("1 +", "SyntaxError"), ("raise ValueError('later')", "ValueError: later"), ("x", "NameError")]
)
def test_a_module_that_can_not_be_imported_is_told(tmp_path, monkeypatch, text, reason):
    name = f"spoiled_{reason[:4].lower()}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=rf"{name!r} of '{name}:Game-v0' could not be imported \({reason}"):
        make_real(f"{name}:Game-v0", 1)
    assert name not in sys.modules


def test_a_limit_ends_what_takes_longer_and_nothing_afterwards():
    with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"), time_limit(0.05):
        time.sleep(5)
    with time_limit(0.05):
        pass
    time.sleep(0.1)


def test_outside_the_main_thread_there_is_no_limit():
    done = []

    def wait():
        with time_limit(0.01):
            time.sleep(0.05)
            done.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert done
