"""The garbage collector stands still while a process starts, and is back whatever happens."""

import gc
import sys

import pytest

from runtime.memory import TURN, settle, starting, undisturbed


@pytest.fixture(autouse=True)
def thawed():
    yield
    gc.unfreeze()
    gc.enable()


def test_nothing_is_collected_while_a_process_starts_and_what_it_made_is_set_aside():
    settle()
    before = gc.get_freeze_count()
    with starting():
        assert not gc.isenabled()
        kept = [[number] for number in range(5000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() - before >= len(kept)


def test_a_start_that_fails_leaves_the_collector_as_it_was():
    with pytest.raises(LookupError), starting():
        raise LookupError
    assert gc.isenabled()
    gc.disable()
    with starting():
        pass
    assert not gc.isenabled()


def test_a_session_collects_nothing_and_lets_threads_take_turns_sooner_for_as_long_as_it_runs():
    usual = sys.getswitchinterval()
    with undisturbed():
        assert not gc.isenabled()
        assert sys.getswitchinterval() == TURN < usual
    with pytest.raises(LookupError), undisturbed():
        raise LookupError
    assert gc.isenabled()
    assert sys.getswitchinterval() == usual
