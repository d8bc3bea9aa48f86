"""kill -9 of a process that writes the online store: readers see a whole update, others go on."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from featurestore.online import open_online
from tests.fakes.online_child import FEATURES, SYMBOLS, update

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", ["file", "valkey"])
def test_a_writer_killed_in_the_middle_leaves_a_whole_state_and_no_lock(kind, request, tmp_path):
    url = (
        f"file://{tmp_path / 'online.bin'}"
        if kind == "file"
        else request.getfixturevalue("valkey_url")
    )
    reader = open_online(url, name="kill")
    told = 0
    for enough in (20, 60, 100):
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.online_child", url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        for line in writer.stdout:
            told = max(told, int(line))
            cells = reader.backend.read(FEATURES, SYMBOLS).packed
            assert len(np.unique(cells[:, 1])) == 1
            if int(line) >= enough:
                break
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        cells = reader.backend.read(FEATURES, SYMBOLS).packed
        (held,) = np.unique(cells[:, 1])
        assert held >= told
        assert (cells[:, 0].view(np.float64) == held).all()
    assert reader.backend.apply(update(10_000)).written == len(SYMBOLS) * len(FEATURES)
