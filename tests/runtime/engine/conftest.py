"""A funded bench."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runtime.engine import fund
from tests.fakes.market import CAPITAL, open_bench


@pytest.fixture
def bench(tmp_path):
    opened = open_bench(tmp_path)
    fund(opened.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield opened
    opened.close()
