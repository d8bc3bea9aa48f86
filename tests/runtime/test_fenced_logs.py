"""A process that was superseded writes no joint, no shadow and no stop, whatever it still holds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from runtime.bundles.contract import Signature, StopBands
from runtime.clock import ReplayClock
from runtime.database import open_database
from runtime.errors import Superseded
from runtime.joint.identity import Joint, JointLog, JointSeat
from runtime.joint.shadow_log import ShadowBook, ShadowDay, ShadowLog
from runtime.registry import Promoted, Registry
from runtime.scheduling.fence import Epochs
from service.trading.bands import Watch

AT = datetime(2020, 1, 2, 21, tzinfo=UTC)
JOINT = Joint(
    seats=(JointSeat(role="champion", study="tilt", bundle="b" * 64, version=1, fraction="1"),)
)
DAY = ShadowDay(account="live", day="2020-01-02", books={"b" * 64: ShadowBook()}, returns={})


@pytest.fixture
def engine(tmp_path):
    opened = open_database(f"sqlite:///{tmp_path / 'runtime.db'}")
    yield opened
    opened.dispose()


@pytest.fixture
def fences(engine):
    """The right of a process, and of another that took over."""
    epochs = Epochs(engine)
    return [epochs.take("live", holder=name, at=AT) for name in ("old", "new")]


def test_a_superseded_process_writes_no_joint_and_the_next_one_does(engine, fences):
    old, new = (JointLog(engine, fence) for fence in fences)
    with pytest.raises(Superseded, match="nothing was written"):
        old.record(JOINT, AT)
    assert JointLog(engine).find(JOINT.hash) is None
    new.record(JOINT, AT)
    assert new.verify().seq == 1
    old.record(JOINT, AT)  # it is there: there is nothing to write


def test_a_superseded_process_writes_no_shadow_day_and_the_next_one_does(engine, fences):
    old, new = (ShadowLog(engine, fence) for fence in fences)
    with pytest.raises(Superseded, match="nothing was written"):
        old.record(DAY, [], AT)
    assert not new.holds("live", date(2020, 1, 2))
    new.record(DAY, [], AT)
    assert new.holds("live", date(2020, 1, 2))


def seated(engine) -> Registry:
    """A registry whose champion was promoted with a stop at a tenth below its highest close."""
    registry = Registry(engine)
    signature = Signature(
        manifest_hash="b" * 64,
        signer="s",
        signed_at=AT.isoformat(),
        version=1,
        stage="production",
        public_key="00",
        signature="00",
        bands=StopBands(max_drawdown="0.10"),
    )
    promoted = Promoted(
        study="tilt", bundle="b" * 64, version=1, stage="production", promotion=signature
    )
    registry.activate(promoted, by="alice", why="passed", at=AT - timedelta(days=30))
    return registry


def test_a_superseded_process_takes_nobody_out_for_what_it_saw_last(engine, fences):
    registry, closed = seated(engine), AT.date() - timedelta(days=1)
    journal = SimpleNamespace(
        account="live",
        log=SimpleNamespace(entries=lambda kind: ()),
        equity_curve=lambda end: [
            SimpleNamespace(day=closed, equity=Decimal(100), benchmark_return=0.0)
        ],
    )

    def look(fence):
        watch = Watch(registry=registry, journal=journal, clock=ReplayClock(AT), fence=fence)
        return watch.look(AT.date(), Decimal(80), 0.0, {})

    old, new = fences
    with pytest.raises(Superseded, match="traded by new"):
        look(old)
    assert [one.action for one in registry.history()] == ["activate"]
    assert "champion tilt version 1 is sold" in look(new)
    assert [one.action for one in registry.history()] == ["activate", "stop"]
    registry.verify()
