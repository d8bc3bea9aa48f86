"""The garbage collector stands still while a process starts, and is back whatever happens."""

import gc

import pytest

from runtime.memory import settle, starting


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
