"""docs/degrading.md: every line names a test, and every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_line_of_what_stops_names_tests_that_exist():
    lines = [
        line
        for line in (ROOT / "docs" / "degrading.md").read_text().splitlines()
        if line.startswith("| **")
    ]
    assert len(lines) >= 10
    for line in lines:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", line)
        assert named, line
        for file, name in named:
            assert f"def {name}(" in (ROOT / file).read_text(), f"{file} has no {name}"
