"""An alert is raised once, climbs until somebody answers, and survives kills and restarts."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.alerts.alert import Notice
from runtime.alerts.book import AlertBook
from runtime.alerts.budget import Event, Objective, budget, burn_rate, burning
from runtime.alerts.escalation import due, read_escalation
from runtime.alerts.heartbeat import Heart, silences
from runtime.alerts.notify import AppriseNotifier, NoticeFailed
from runtime.alerts.watch import Condition, Finding, Watch
from runtime.clock import ReplayClock
from runtime.errors import AlertUnknown, DatabaseUnavailable, EscalationInvalid, ObjectiveInvalid

START = datetime(2026, 11, 20, 21, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ROOT = Path(__file__).resolve().parents[3]
POLICY = """
[receivers]
desk = "log:"
oncall = "log:"
boss = "log:"
[[level]]
after_minutes = 0
to = ["desk"]
[[level]]
after_minutes = 15
to = ["desk", "oncall"]
[[level]]
after_minutes = 30
to = ["oncall"]
[[level]]
after_minutes = 60
to = ["boss"]
"""


@pytest.fixture
def escalation(tmp_path):
    file = tmp_path / "escalation.toml"
    file.write_text(POLICY)
    return read_escalation(file)


@pytest.fixture
def book(tmp_path):
    return AlertBook.create(tmp_path / "alerts")


class Told:
    """Remembers who was told; `down` cannot be reached."""

    def __init__(self):
        self.heard, self.down = [], set()

    def tell(self, receiver, alert, *, level):
        if receiver in self.down:
            raise NoticeFailed(f"{receiver} was not reached")
        self.heard.append((receiver, alert.key, level))


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def clock():
    return ReplayClock(START)


@pytest.fixture
def watch(book, escalation, told, clock, tmp_path):
    return Watch(
        book=book,
        escalation=escalation,
        notifier=told,
        clock=clock,
        hearts=tmp_path / "hearts",
        elapsed=lambda: clock.now().timestamp(),
        patience=60.0,  # whom nothing holds up is waited for, on a busy machine too
        glance=60.0,
    )


def at(clock, minutes):
    clock.advance(START + minutes * MINUTE)


def test_a_page_climbs_at_0_15_30_and_60_minutes_until_it_is_taken(watch, book, told, clock):
    book.sound("trade.breaks", "a break", at=START)
    heard = {}
    for minute in range(90):
        at(clock, minute)
        watch.round()
        heard[minute], told.heard = told.heard, []
    assert {minute: sorted(said) for minute, said in heard.items() if said} == {
        0: [("desk", "trade.breaks", 0)],
        15: [("desk", "trade.breaks", 1), ("oncall", "trade.breaks", 1)],
        30: [("oncall", "trade.breaks", 2)],
        60: [("boss", "trade.breaks", 3)],
    }


@pytest.mark.parametrize("answer", ["acknowledge", "resolve"])
def test_an_answer_stops_the_climb(watch, book, told, clock, answer):
    book.sound("trade.breaks", "a break", at=START)
    watch.round()
    at(clock, 10)
    if answer == "acknowledge":
        book.acknowledge("trade.breaks", by="ada", at=clock.now(), note="looking")
    else:
        book.resolve("trade.breaks", at=clock.now(), how="booked")
    told.heard.clear()
    for minute in (15, 30, 61):
        at(clock, minute)
        watch.round()
    assert told.heard == []


def test_a_ticket_stays_at_the_first_level(watch, book, told, clock):
    book.sound("trade.denied", "3 denied", at=START, severity="ticket")
    for minute in (0, 15, 61):
        at(clock, minute)
        watch.round()
    assert told.heard == [("desk", "trade.denied", 0)]


def test_a_watch_that_was_down_makes_up_for_every_level_it_missed(
    watch, book, told, clock, escalation
):
    book.sound("trade.breaks", "a break", at=START)
    at(clock, 31)
    watch.round()
    assert sorted((who, level) for who, _, level in told.heard) == [
        ("desk", 0),
        ("desk", 1),
        ("oncall", 1),
        ("oncall", 2),
    ]
    again = Watch(book=book, escalation=escalation, notifier=told, clock=clock, hearts=watch.hearts)
    told.heard.clear()
    again.round()
    assert told.heard == [], "a restart tells nobody twice"


def test_what_was_over_before_anybody_heard_is_told_once_all_the_same(watch, book, told, clock):
    book.sound("kill.all", "stopped", at=START)
    book.clear("kill.all", at=START, how="released")
    for minute in (0, 15, 61):
        at(clock, minute)
        watch.round()
    assert told.heard == [("desk", "kill.all", 0)]
    assert book.current() == ()
    assert [one.key for one in book.past()] == ["kill.all"]


def test_a_receiver_that_is_away_is_tried_again_and_the_others_are_told(watch, book, told, clock):
    book.sound("trade.breaks", "a break", at=START)
    told.down = {"oncall"}
    at(clock, 16)
    watch.round()
    assert {who for who, _, _ in told.heard} == {"desk"}
    told.down = set()
    watch.round()
    assert {who for who, _, _ in told.heard} == {"desk"}  # it is left alone for a second
    clock.advance(clock.now() + timedelta(seconds=1))
    watch.round()
    assert told.heard[-1] == ("oncall", "trade.breaks", 1)


def test_a_receiver_that_stays_away_is_tried_less_and_less_and_others_never_wait_for_it(
    watch, book, told, clock
):
    tries = []

    def tell(receiver, alert, *, level):
        if receiver == "desk":
            tries.append((clock.now() - START).total_seconds())
            raise NoticeFailed("the desk was not reached")
        told.heard.append((receiver, alert.key, level))

    watch.notifier.tell = tell
    book.sound("trade.breaks", "a break", at=START - 16 * MINUTE)
    for second in range(121):
        clock.advance(START + timedelta(seconds=second))
        watch.round()
    assert tries == [0, 1, 3, 7, 15, 31, 61, 91]
    assert told.heard == [("oncall", "trade.breaks", 1)]


def test_a_clock_that_is_set_back_keeps_nobody_waiting_who_can_be_reached_again(
    watch, book, told, clock
):
    seconds = [5.0]
    watch.elapsed = lambda: seconds[0]
    book.sound("trade.breaks", "a break", at=START - 180 * MINUTE)
    told.down = {"desk"}
    watch.round()
    told.down, clock.at = set(), START - 60 * MINUTE
    watch.round()
    assert "desk" not in {who for who, _, _ in told.heard}
    seconds[0] += 1.0
    watch.round()
    assert "desk" in {who for who, _, _ in told.heard}


def test_a_receiver_and_a_database_that_hang_hold_up_neither_others_nor_the_next_round(
    watch, book, told, clock
):
    hanging, looks = threading.Event(), []

    def tell(receiver, alert, *, level):
        if receiver == "desk":
            hanging.wait(120)
        told.heard.append((receiver, alert.key, level))

    def look(_now):
        looks.append(None)
        hanging.wait(120)
        return ()

    watch.notifier.tell, watch.patience, watch.glance = tell, 0.05, 0.01
    watch.conditions = (Condition(name="books", look=look, apart=True),)
    book.sound("trade.breaks", "a break", at=START - 16 * MINUTE)
    for second in (0, 1, 2):
        clock.advance(START + timedelta(seconds=second))
        watch.round()
    until = time.monotonic() + 60
    while not (told.heard and looks) and time.monotonic() < until:
        time.sleep(0.01)  # each has a thread of its own, which a busy machine begins late
    assert told.heard == [("oncall", "trade.breaks", 1)]
    assert "books.blind" not in {one.key for one in book.open()}
    clock.advance(START + timedelta(seconds=10))
    watch.round()
    (blind,) = [one for one in book.open() if one.key == "books.blind"]
    assert "no answer within 10 s" in blind.detail
    assert len(looks) == 1  # one look at a time
    hanging.set()
    assert watch.settle() >= 2
    assert ("desk", "trade.breaks", 0) in told.heard
    watch.glance = 30
    watch.round()
    assert "books.blind" not in {one.key for one in book.open()}


def test_a_repeat_is_the_same_alert_until_it_is_over(book):
    first = book.sound("trade.breaks", "one break", at=START)
    second = book.sound("trade.breaks", "two breaks", at=START + MINUTE)
    assert (second.id, second.seen, second.title) == (first.id, 2, "two breaks")
    book.resolve(first.id, at=START + 2 * MINUTE, how="booked")
    third = book.sound("trade.breaks", "again", at=START + 3 * MINUTE)
    assert third.id != first.id
    assert [one.id for one in book.open()] == [third.id]


def test_an_unknown_alert_names_those_that_are_open(book):
    known = book.sound("trade.breaks", "a break", at=START)
    with pytest.raises(AlertUnknown, match=known.id):
        book.acknowledge("nothing", by="ada", at=START)


def test_a_damaged_file_is_an_alert_itself(book, escalation):
    (book.folder / "20261120-x.json").write_text("{half")
    (found,) = book.open()
    assert "cannot be read" in found.title
    assert due(found, escalation, datetime.now(UTC) + 16 * MINUTE)


SOUNDING = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
from runtime.alerts.book import AlertBook
folder, first, start = sys.argv[1:]
for number in range(int(first), 60, 4):
    at = datetime.fromisoformat(start) + timedelta(minutes=number)
    AlertBook(Path(folder)).sound(f"key.{number % 3}", "x", at=at)
"""


def test_many_processes_at_once_lose_no_sign(book):
    """New interpreters: to fork beside the threads of other tests could hang."""
    words = [sys.executable, "-c", SOUNDING, str(book.folder)]
    children = [
        subprocess.Popen([*words, str(first), START.isoformat()], cwd=ROOT) for first in range(4)
    ]
    assert [one.wait(120) for one in children] == [0] * 4
    assert sum(one.seen for one in book.open()) == 60
    assert len(book.open()) == 3


def test_silence_is_the_alarm_and_a_sign_of_life_ends_it(watch, book, told, clock, tmp_path):
    heart = Heart(folder=watch.hearts, name="trade", who="host:1", every=timedelta(seconds=5))
    heart.beat(START)
    watch.round()
    assert told.heard == []
    clock.advance(START + timedelta(seconds=16))
    watch.round()
    assert told.heard == [("desk", "heartbeat.trade", 0)]
    heart.beat(clock.now())
    watch.round()
    assert book.open() == ()


def test_who_never_beat_is_missed_after_a_minute_and_who_ended_as_told_is_not(tmp_path):
    heart = Heart(folder=tmp_path, name="web", who="host:2", every=timedelta(seconds=5))
    heart.beat(START, ended=True)
    names = ("trade", "web")
    assert silences(tmp_path, names, START + 0.9 * MINUTE, since=START) == ()
    (found,) = silences(tmp_path, names, START + 10 * MINUTE, since=START)
    assert (found.name, found.last) == ("trade", None)


def test_a_sign_of_life_that_cannot_be_read_is_silence(tmp_path):
    (tmp_path / "trade.beat").write_bytes(b"\x00")
    (found,) = silences(tmp_path, (), START, since=START)
    assert "cannot be read" in found.detail


def test_a_condition_is_an_alert_while_it_holds_and_so_is_one_that_cannot_be_looked_at(
    watch, book, clock
):
    state = {"found": (Finding(key="kill.all", title="stopped"),)}

    def look(_now):
        if state["found"] is None:
            raise DatabaseUnavailable("no answer")
        return state["found"]

    watch.conditions = (Condition(name="kill", look=look),)
    watch.round()
    watch.round()
    (alert,) = book.open()
    assert (alert.key, alert.seen) == ("kill.all", 1), "what has not changed is not raised again"
    state["found"] = None
    watch.round()
    assert {one.key for one in book.open()} == {"kill.all", "kill.blind"}
    state["found"] = ()
    watch.round()
    assert book.open() == ()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (POLICY.replace("after_minutes = 0", "after_minutes = 5"), "somebody is told now"),
        (POLICY.replace("after_minutes = 60", "after_minutes = 20"), "later and later"),
        (POLICY.replace('to = ["boss"]', 'to = ["nobody"]'), "tells nobody"),
        (POLICY + "\n[[lvl]]\n", "lvl"),
        ("[receivers", "Expected"),
    ],
)
def test_an_escalation_that_would_not_work_is_refused_with_its_file(tmp_path, broken, words):
    file = tmp_path / "mine.toml"
    file.write_text(broken)
    with pytest.raises(EscalationInvalid, match=words) as error:
        read_escalation(file)
    assert str(file) in str(error.value)


def test_the_packaged_escalation_works():
    assert [one.after_minutes for one in read_escalation(None).level] == [0, 15, 30, 60]


@given(st.lists(st.integers(0, 200), max_size=12).map(sorted))
def test_every_level_is_told_exactly_once_whatever_the_rounds(minutes):
    from runtime.alerts.escalation import Escalation, Level

    plan = Escalation(
        receivers={"a": "log:", "b": "log:"},
        level=(
            Level(after_minutes=0, to=("a",)),
            Level(after_minutes=15, to=("a", "b")),
            Level(after_minutes=60, to=("b",)),
        ),
    )
    from runtime.alerts.alert import Alert

    alert = Alert(id="x", key="x", severity="page", title="x", raised_at=START, last_at=START)
    heard = []
    for minute in minutes:
        now = START + minute * MINUTE
        for level, receiver in due(alert, plan, now):
            heard.append((level, receiver))
            notice = Notice(level=level, receiver=receiver, at=now)
            alert = type(alert)(
                **{f: getattr(alert, f) for f in alert.__struct_fields__ if f != "notices"},
                notices=(*alert.notices, notice),
            )
    last = max(minutes, default=-1)
    expected = [
        (number, who)
        for number, one in enumerate(plan.level)
        if last >= one.after_minutes
        for who in one.to
    ]
    assert sorted(heard) == sorted(expected)


@pytest.mark.parametrize(
    "address",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#risk",
        "pagerduty://A1BRTD4JDTIiajkdnlazkcOXrIdevi7FQ@TIiajkdnlazkcOXrI",
        "opsgenie://a1b2c3d4-aaaa-bbbb-cccc-a1b2c3d4e5f6",
        "mailtos://user:pass@example.org?to=desk@example.org",
        "jsons://example.org/hook",
        "log:",
    ],
)
def test_the_addresses_of_the_usual_receivers_are_taken(address):
    AppriseNotifier({"desk": address}, lambda text: text).check()


def test_an_address_that_nobody_can_be_reached_at_is_refused_without_repeating_it():
    with pytest.raises(EscalationInvalid, match="receiver desk") as error:
        AppriseNotifier({"desk": "slak://secret-token"}, lambda text: text).check()
    assert "secret-token" not in str(error.value)


# The Site Reliability Workbook, chapter 5, table 5-4: with an objective of 99.9 % over 30 days an
# error rate of 1.44 % burns at 14.4 and spends 2 % of the month's budget in an hour.
def test_burn_rates_match_the_workbook():
    objective = Objective(name="x", target=0.999, window=timedelta(days=30))
    second = timedelta(seconds=1)
    events = [Event(at=START + n * second, good=n % 10000 >= 144) for n in range(10000)]
    now = events[-1].at
    assert burn_rate(objective, events, timedelta(hours=3), now) == pytest.approx(14.4)


def test_a_page_needs_both_windows_and_ends_soon_after_the_trouble():
    objective = Objective(name="x", target=0.999, window=timedelta(days=30))
    trouble = [Event(at=START + n * MINUTE / 2, good=n >= 120 or n % 2 == 0) for n in range(240)]
    during, after = START + 59 * MINUTE, START + 100 * MINUTE
    assert burning(objective, [e for e in trouble if e.at <= during], during).page
    found = burning(objective, trouble, after)
    assert found is None or not found.page


def test_a_budget_is_what_the_objective_allows_less_what_failed():
    objective = Objective(name="x", target=0.9, window=timedelta(days=30))
    events = [Event(at=START + n * MINUTE, good=n % 20 != 0) for n in range(100)]
    spent = budget(objective, events, START + 200 * MINUTE)
    assert (spent.events, spent.failures) == (100, 5)
    assert spent.left == pytest.approx(0.5)
    assert budget(objective, [], START).left == 1.0
    with pytest.raises(ObjectiveInvalid, match="between 0 and 1"):
        Objective(name="x", target=1.0, window=timedelta(days=1))
