"""`sluice trade` as operators run it: one leads, one stands by, SIGTERM hands over, kill -9 too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from service.commands.schedule import read_schedule
from tests.fakes.trading import promote_over_lake, promoted_workspace

PATIENCE = 120.0  # seconds; a busy machine may take long to start a process


@pytest.fixture
def settings(tmp_path, market_lake):
    made = promoted_workspace(tmp_path)
    promote_over_lake(made, market_lake, version=2, schedule="daily")
    return made


class Trader:
    """A running `sluice trade`; its lines are read as they come."""

    def __init__(self, settings) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("sluice"), "trade", "-w", str(settings.workspace)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()

    def says(self, text: str) -> bool:
        """Wait until a line holds a text."""
        with self._news:
            return self._news.wait_for(lambda: any(text in one for one in self.lines), PATIENCE)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def test_one_process_trades_and_the_next_takes_over_however_it_ends(settings):
    traders = [Trader(settings)]
    try:
        assert traders[0].says("this process leads, epoch 1"), traders[0].lines
        traders += [Trader(settings), Trader(settings)]
        for waiting in traders[1:]:
            assert waiting.says("another process leads; standing by"), waiting.lines
        assert traders[0].end(signal.SIGTERM) == 0
        second, third = _first_to_say("this process leads, epoch 2", *traders[1:])
        assert second.end(signal.SIGKILL) == -signal.SIGKILL
        assert third.says("this process leads, epoch 3"), third.lines
        assert third.end(signal.SIGINT) == 0
    finally:
        for one in traders:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()
    answer = read_schedule(settings, limit=100)
    assert answer.epoch == 3
    assert [one.outcome for one in answer.entries if one.outcome in ("done", "late")] == []


def _first_to_say(text: str, one: Trader, other: Trader) -> tuple[Trader, Trader]:
    """Wait until one of two says something; return that one first."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for first, second in ((one, other), (other, one)):
            if any(text in line for line in first.lines):
                return first, second
        time.sleep(0.02)
    raise AssertionError((text, one.lines, other.lines))
