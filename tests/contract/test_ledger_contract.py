"""What every ledger promises, over SQLite and PostgreSQL alike."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import (
    EvidenceMissing,
    HoldoutSpent,
    LedgerBroken,
    LedgerRefused,
    StudyUnknown,
)
from pipelines.ledger import (
    Judgement,
    Ledger,
    Promotion,
    RunClosed,
    RunOpened,
    TrialClosed,
    TrialOpened,
    open_ledger,
)
from runtime.clock import ReplayClock
from runtime.database import open_database

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
STUDY = {"name": "momentum", "search_space": {"lookback": [21, 63]}, "source": "a paper"}
DAYS = [date(2020, 1, 1) + timedelta(days=i) for i in range(5)]
WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pipelines.ledger import TrialOpened, TrialClosed, open_ledger
from runtime.clock import ReplayClock
url, anchor, who, count = sys.argv[1:]
ledger = open_ledger(url, clock=ReplayClock(datetime(2026, 1, 5, tzinfo=UTC)), anchor=Path(anchor))
for i in range(int(count)):
    trial = TrialOpened(
        study="momentum", parameters={"who": who, "i": i}, code_hash="c", snapshot_hash="s"
    )
    key = ledger.open_trial(trial)
    ledger.close_trial(key, TrialClosed(status="failed", reason="on purpose"))
"""


@pytest.fixture
def anchor(tmp_path: Path) -> Path:
    return tmp_path / "ledger.heads"


@pytest.fixture
def ledger(database_url: str, anchor: Path) -> Ledger:
    return open_ledger(database_url, clock=ReplayClock(NOON), anchor=anchor)


def trial(lookback: int = 21, *, code: str = "c0de", study: str = "momentum") -> TrialOpened:
    return TrialOpened(
        study=study, parameters={"lookback": lookback}, code_hash=code, snapshot_hash="5a"
    )


def complete(scale: float = 1.0, days: list[date] = DAYS) -> TrialClosed:
    net = scale * np.linspace(-0.01, 0.02, len(days))
    return TrialClosed(status="complete", dates=days, net=net, benchmark=np.full(len(days), 0.001))


def tamper(url: str, statement: str) -> None:
    engine = open_database(url)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.commit()


def test_a_trial_needs_its_study_declared_first(ledger: Ledger) -> None:
    with pytest.raises(StudyUnknown, match="no study 'momentum'; declared are: none yet"):
        ledger.open_trial(trial())
    assert ledger.head().seq == 0


def test_a_study_may_be_declared_anew_until_its_first_trial(ledger: Ledger) -> None:
    assert ledger.declare_study(STUDY).version == 1
    assert ledger.declare_study(STUDY).version == 1
    narrow = STUDY | {"search_space": {"lookback": [21]}}
    assert ledger.declare_study(narrow).version == 2
    assert ledger.declare_study(STUDY).version == 3


@pytest.mark.parametrize(
    "change",
    [
        {"search_space": {"lookback": [21]}},
        {"universe": "another"},
        {"costs": 0.0},
        {"a new fact": 1},
    ],
)
def test_what_is_asked_is_frozen_by_the_first_trial(ledger: Ledger, change: dict) -> None:
    ledger.declare_study(STUDY)
    ledger.open_trial(trial())
    with pytest.raises(LedgerRefused, match=f"its {next(iter(change))} can no longer be changed"):
        ledger.declare_study(STUDY | change)
    reworded = ledger.declare_study(STUDY | {"question": "Said more clearly?"})
    assert (reworded.version, reworded.trials) == (2, 1)


def test_every_kind_of_end_is_counted_and_an_open_trial_has_crashed(ledger: Ledger) -> None:
    ledger.declare_study(STUDY)
    keys = [ledger.open_trial(trial(lookback)) for lookback in (1, 2, 3, 4)]
    ledger.close_trial(keys[0], complete())
    ledger.close_trial(keys[1], TrialClosed(status="failed", reason="ValueError: no"))
    ledger.close_trial(keys[2], TrialClosed(status="pruned", reason="hopeless"))
    assert [t.status for t in ledger.trials("momentum")] == [
        "complete",
        "failed",
        "pruned",
        "crashed",
    ]
    evidence = ledger.evidence("momentum")
    assert (evidence.trials, evidence.names) == (4, (keys[0],))


def test_returns_come_back_to_the_bit(ledger: Ledger) -> None:
    ledger.declare_study(STUDY)
    key = ledger.open_trial(trial())
    closed = complete(scale=1 / 3)
    ledger.close_trial(key, closed)
    stored = ledger.returns(key)
    assert stored.net.tobytes() == np.asarray(closed.net).tobytes()
    assert stored.dates.astype(object).tolist() == DAYS


def test_the_matrix_is_ordered_by_key_and_holds_the_common_days(ledger: Ledger) -> None:
    ledger.declare_study(STUDY)
    for lookback, days in ((1, DAYS), (2, DAYS[1:]), (3, DAYS)):
        ledger.close_trial(ledger.open_trial(trial(lookback)), complete(lookback, days))
    evidence = ledger.evidence("momentum")
    assert evidence.names == tuple(sorted(evidence.names))
    assert evidence.net.shape == (4, 3)
    for column, key in enumerate(evidence.names):
        assert np.array_equal(evidence.net[:, column], ledger.returns(key).net[-4:])
    assert np.allclose(evidence.excess, evidence.net - 0.001)
    assert evidence.benchmark.shape == (4,)


def test_the_same_configuration_twice_is_one_trial_with_two_attempts(ledger: Ledger) -> None:
    ledger.declare_study(STUDY)
    key = ledger.open_trial(trial())
    ledger.close_trial(key, complete())
    assert ledger.open_trial(trial()) == key
    ledger.close_trial(key, complete(scale=2.0))
    (record,) = ledger.trials("momentum")
    assert (record.attempts, record.status, record.reproducible) == (2, "complete", False)
    assert np.array_equal(ledger.returns(key).net, np.asarray(complete().net))


def test_every_run_that_opened_a_trial_is_known(ledger: Ledger) -> None:
    ledger.declare_study(STUDY)
    for run in ("sweep-1", "notebook-2", "sweep-1"):
        opened = TrialOpened(
            study="momentum", parameters={}, code_hash="c", snapshot_hash="s", run=run
        )
        ledger.close_trial(ledger.open_trial(opened), complete())
    (record,) = ledger.trials("momentum")
    assert (record.run, record.runs) == ("sweep-1", ("sweep-1", "notebook-2"))
    assert ledger.trials_of_run("notebook-2") == (record,)
    assert ledger.trials_of_run("unknown") == ()


def test_other_code_or_another_study_makes_another_trial(ledger: Ledger) -> None:
    ledger.declare_study(STUDY)
    ledger.declare_study(STUDY | {"name": "renamed"})
    keys = {ledger.open_trial(t) for t in (trial(), trial(code="b"), trial(study="renamed"))}
    assert len(keys) == 3


def test_closing_what_was_never_opened_or_is_closed_is_refused(ledger: Ledger) -> None:
    ledger.declare_study(STUDY)
    with pytest.raises(LedgerRefused, match="never opened"):
        ledger.close_trial("f" * 64, complete())
    key = ledger.open_trial(trial())
    ledger.close_trial(key, complete())
    with pytest.raises(LedgerRefused, match="closed already"):
        ledger.close_trial(key, complete())


def test_a_refused_entry_leaves_nothing_behind(ledger: Ledger) -> None:
    ledger.declare_study(STUDY)
    before = ledger.head()
    with pytest.raises(StudyUnknown):
        ledger.open_trials([trial(), trial(study="other")])
    assert ledger.head() == before
    assert ledger.trials("momentum") == ()
    ledger.open_trial(trial())
    assert len(ledger.trials("momentum")) == 1


def test_an_unknown_and_an_empty_study_give_one_clear_error_each(ledger: Ledger) -> None:
    ledger.declare_study(STUDY)
    with pytest.raises(StudyUnknown, match="declared are: momentum"):
        ledger.evidence("momentun")
    with pytest.raises(EvidenceMissing, match="study momentum has no trial yet"):
        ledger.evidence("momentum")
    ledger.open_trial(trial())
    with pytest.raises(EvidenceMissing, match="1 trials, none of them complete"):
        ledger.evidence("momentum")


def test_the_holdout_is_spent_once_and_the_second_look_is_told_who_and_when(
    ledger: Ledger,
) -> None:
    ledger.declare_study(STUDY)
    key = ledger.open_trial(trial())
    ledger.close_trial(key, complete())
    assert ledger.holdout("momentum") is None
    ledger.spend_holdout("momentum", key, "ada", NOON)
    with pytest.raises(HoldoutSpent, match=r"2026-01-05 12:00 UTC by ada for trial " + key[:12]):
        ledger.spend_holdout("momentum", key, "bob", NOON + timedelta(days=1))
    record = ledger.record_holdout("momentum", {"sharpe": 0.5, "days": 1500})
    assert (record.by, record.at, record.figures) == ("ada", NOON, {"sharpe": 0.5, "days": 1500})
    with pytest.raises(LedgerRefused, match="has its result already"):
        ledger.record_holdout("momentum", {"sharpe": 5.0})


def test_runs_judgements_and_promotions_are_kept(ledger: Ledger) -> None:
    ledger.declare_study(STUDY)
    ledger.open_run(RunOpened(run="r1", notebook="m.ipynb", notebook_hash="aa", parameters={}))
    assert ledger.run("r1").status == "crashed"
    ledger.close_run("r1", RunClosed(status="failed", cause="killed", message="signal 9", cell=3))
    assert (ledger.run("r1").status, ledger.runs()[0].closed) == (
        "failed",
        RunClosed(status="failed", cause="killed", message="signal 9", cell=3),
    )
    key = ledger.open_trial(trial())
    judged = Judgement(study="momentum", trial=key, trials=1, stage="refused", verdicts=())
    ledger.record_judgement(judged)
    ledger.record_judgement(judged)
    assert ledger.judgements("momentum") == (judged,)
    promotion = Promotion(
        study="momentum", trial=key, bundle="b" * 64, stage="staging", version=1, by="ada"
    )
    ledger.record_promotion(promotion)
    ledger.record_promotion(promotion)
    assert ledger.promotions() == (promotion,)


def test_two_ledgers_over_one_database_see_each_other(
    ledger: Ledger, database_url: str, anchor: Path
) -> None:
    other = open_ledger(database_url, clock=ReplayClock(NOON), anchor=anchor)
    ledger.declare_study(STUDY)
    key = other.open_trial(trial())
    ledger.close_trial(key, complete())
    assert other.trials("momentum")[0].status == "complete"
    assert other.verify() == ledger.head()


def test_several_processes_write_at_once_and_nothing_is_lost_or_doubled(
    ledger: Ledger, database_url: str, anchor: Path
) -> None:
    ledger.declare_study(STUDY)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, database_url, str(anchor), who, "12"])
        for who in "ab"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert ledger.study("momentum").by_status == {"failed": 24}
    assert ledger.verify().seq == 1 + 2 * 24


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE ledger SET payload = payload || payload WHERE seq = 2", "entry 2"),
        ("DELETE FROM ledger WHERE seq = 2", "entry 2 is missing"),
        ("DELETE FROM ledger WHERE seq > 3", "entry 4"),
        ("UPDATE ledger SET at = at + 1 WHERE seq = 1", "entry 1"),
        ("UPDATE ledger_blobs SET content = content || content", "was changed"),
        ("DELETE FROM ledger_blobs", "is missing"),
    ],
)
def test_tampering_is_found(ledger: Ledger, database_url: str, statement: str, told: str) -> None:
    ledger.declare_study(STUDY)
    for lookback in (1, 2):
        ledger.close_trial(ledger.open_trial(trial(lookback)), complete(lookback))
    assert ledger.verify().seq == 5
    tamper(database_url, statement)
    with pytest.raises(LedgerBroken, match=told):
        ledger.verify()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger WHERE seq = 2",
        "UPDATE ledger SET kind = 'trial closed' WHERE seq = 2",
    ],
)
def test_a_reader_does_not_believe_a_ledger_with_a_hole(
    ledger: Ledger, database_url: str, anchor: Path, statement: str
) -> None:
    ledger.declare_study(STUDY)
    for lookback in (1, 2):
        ledger.open_trial(trial(lookback))
    tamper(database_url, statement)
    fresh = open_ledger(database_url, clock=ReplayClock(NOON), anchor=anchor)
    with pytest.raises(LedgerBroken, match="entry 2"):
        fresh.trials("momentum")


def test_a_cut_ledger_is_not_even_opened_and_a_lost_anchor_is_told(
    ledger: Ledger, database_url: str, anchor: Path
) -> None:
    ledger.declare_study(STUDY)
    ledger.open_trial(trial())
    kept = anchor.read_bytes()
    anchor.unlink()
    with pytest.raises(LedgerBroken, match="is missing: without it"):
        ledger.verify()
    anchor.write_bytes(kept)
    tamper(database_url, "DELETE FROM ledger WHERE seq = 2")
    with pytest.raises(LedgerBroken, match="its tail was cut off"):
        open_ledger(database_url, clock=ReplayClock(NOON), anchor=anchor)


@pytest.mark.parametrize(
    ("days", "net", "told"),
    [
        (DAYS, [0.0, 0.1, float("nan"), 0.0, 0.0], "net return of 2020-01-03 is not a finite"),
        (DAYS[:4], [0.0] * 5, "was given 4, 5 and 5"),
        ([], [], "equally many"),
        (DAYS[::-1], [0.0] * 5, "ascend"),
    ],
)
def test_returns_that_cannot_be_judged_are_refused(
    days: list[date], net: list[float], told: str
) -> None:
    with pytest.raises(LedgerRefused, match=told):
        TrialClosed(status="complete", dates=days, net=net, benchmark=[0.0] * len(net))


def test_a_failed_trial_must_say_why() -> None:
    with pytest.raises(LedgerRefused, match="must say why"):
        TrialClosed(status="failed")
