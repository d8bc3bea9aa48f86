"""Policies over time: installs, reloads, rollbacks and overrides, all on one chained record."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.database import open_database, transaction
from runtime.errors import JournalBroken, PolicyInvalid, PolicyRefused
from runtime.policies.diff import diff
from runtime.policies.log import PolicyLog
from runtime.policies.policy import default_policy, parse_policy, policy_text

AT = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
DEFAULT = policy_text(None)
TIGHT = DEFAULT.replace("max_drawdown = 0.50", "max_drawdown = 0.30")
HOUR = timedelta(hours=1)
LIMIT = "loss.max_drawdown"


@pytest.fixture
def log(database_url):
    return PolicyLog(open_database(database_url))


def install(log, text=DEFAULT, by="ada", at=AT):
    return log.reload(text, by=by, why="test", at=at)


def ask(log, value="0.60", *, limit=LIMIT, seconds=3600, by="ada", why="month end", at=AT):
    return log.ask(limit, value, seconds=seconds, by=by, why=why, at=at)


def drawdown(log, at) -> Decimal:
    return log.policy_at(at).loss.max_drawdown


def test_the_default_texts_differ_where_they_should():
    assert TIGHT != DEFAULT
    assert LIMIT in default_policy().overrides.allowed


def test_a_new_file_comes_into_force_in_every_process_and_the_same_again_does_not(log):
    other = PolicyLog(log.engine)
    first = install(log)
    assert (first.changed, first.active.number, first.active.by) == (True, 1, "ada")
    assert other.active() == first.active
    assert not install(log).changed
    assert install(log, DEFAULT + "\n# a comment").active.number == 1
    second = install(other, TIGHT)
    assert (second.changed, second.active.number) == (True, 2)
    assert drawdown(log, AT) == Decimal("0.30")
    assert [one.text for one in log.history()] == [DEFAULT, TIGHT]
    assert log.log.verify() == other.log.verify()


def test_an_invalid_file_keeps_the_previous_policy_and_says_why(log):
    install(log)
    broken = install(log, DEFAULT.replace("max_drawdown = 0.50", "max_drawdown = -1"))
    assert not broken.changed
    assert "loss.max_drawdown cannot be -1" in broken.refused
    assert drawdown(log, AT) == Decimal("0.50")


def test_without_any_policy_an_invalid_file_is_refused_and_nothing_is_in_force(log):
    with pytest.raises(PolicyInvalid):
        install(log, "name = ")
    assert log.active() is None
    with pytest.raises(PolicyInvalid, match="no policy is in force"):
        log.policy_at(AT)


def test_a_rollback_stands_until_the_file_changes(log):
    install(log)
    install(log, TIGHT)
    back = log.rollback(1, by="ben", why="too tight", at=AT)
    assert (back.number, back.text, back.origin) == (3, DEFAULT, "rollback")
    again = install(log, TIGHT)  # a restart or a SIGHUP reads the same file
    assert not again.changed
    assert "rolled back" in again.refused
    assert drawdown(log, AT) == Decimal("0.50")
    assert install(log, TIGHT.replace("0.30", "0.31")).active.number == 4
    with pytest.raises(PolicyRefused, match="known are 1 to 4"):
        log.rollback(9, by="ben", why="x", at=AT)


def test_an_override_needs_a_second_person_and_ends_by_itself(log):
    install(log)
    asked = ask(log)
    assert drawdown(log, AT) == Decimal("0.50")
    with pytest.raises(PolicyRefused, match="a second person"):
        log.approve(asked.id, by=" ADA ", at=AT)
    log.approve(asked.id, by="ben", at=AT + timedelta(minutes=5))
    assert drawdown(log, AT + timedelta(minutes=4)) == Decimal("0.50")
    assert drawdown(log, AT + timedelta(minutes=5)) == Decimal("0.60")
    assert drawdown(log, AT + HOUR - timedelta(microseconds=1)) == Decimal("0.60")
    assert drawdown(log, AT + HOUR) == Decimal("0.50")


def test_a_decision_under_an_override_names_a_policy_that_explains_itself(log):
    plain = install(log).active
    asked = ask(log)
    log.approve(asked.id, by="ben", at=AT)
    before = log.log.head()
    policy = log.policy_at(AT)
    assert policy.hash != plain.hash
    assert policy.name == f"paper default, overridden by {asked.id}"
    assert [(c.limit, c.after) for c in diff(default_policy(), policy)][1:] == [(LIMIT, "0.60")]
    base, used = PolicyLog(log.engine).explain(policy.hash)
    assert base == plain
    assert [(one.by, one.approved_by, one.why) for one in used] == [("ada", "ben", "month end")]
    assert log.explain(plain.hash) == (plain, ())
    assert log.explain("f" * 64) is None
    assert log.policy_at(AT) == policy
    assert log.log.head().seq == before.seq + 1  # recorded once


def test_an_override_that_is_not_used_leaves_no_trace_in_what_decisions_name(log):
    install(log)
    asked = ask(log)
    log.approve(asked.id, by="ben", at=AT)
    past = datetime(2017, 1, 31, 21, 0, tzinfo=UTC)  # a replay's clock
    assert log.policy_at(past).hash == default_policy().hash


def test_anybody_may_end_an_override_early_and_nobody_revive_it(log):
    install(log)
    asked = ask(log)
    log.approve(asked.id, by="ben", at=AT)
    log.revoke(asked.id, by="ada", at=AT + timedelta(minutes=1))
    assert drawdown(log, AT + timedelta(minutes=1)) == Decimal("0.50")
    for act in (log.approve, log.revoke):
        with pytest.raises(PolicyRefused, match="revoked by ada"):
            act(asked.id, by="cyd", at=AT + timedelta(minutes=2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limit": "authority.entitled"}, "may not be overridden"),
        ({"limit": "nothing"}, "may not be overridden"),
        ({"seconds": 0}, "from 1 to 28800"),
        ({"seconds": 28_801}, "from 1 to 28800"),
        ({"why": " "}, "reason"),
        ({"by": " "}, "name"),
        ({"value": "much"}, "cannot be 'much'"),
        ({"value": "-1"}, "cannot be -1"),
        ({"value": "NaN"}, "cannot be"),
        ({"limit": "loss.max_losing_streak", "value": "1.5"}, "int"),
    ],
)
def test_an_override_that_is_not_allowed_or_makes_no_sense_is_refused(log, change, words):
    install(log)
    seq = log.log.head().seq
    with pytest.raises((PolicyRefused, PolicyInvalid), match=words):
        ask(log, **change)
    assert log.log.head().seq == seq


def test_approving_what_is_unknown_over_or_approved_is_refused(log):
    install(log)
    asked = ask(log)
    with pytest.raises(PolicyRefused, match="no override"):
        log.approve("x", by="ben", at=AT)
    log.approve(asked.id, by="ben", at=AT)
    with pytest.raises(PolicyRefused, match="approved by ben"):
        log.approve(asked.id, by="cyd", at=AT)
    late = ask(log, "0.55")
    with pytest.raises(PolicyRefused, match="over since"):
        log.approve(late.id, by="ben", at=AT + HOUR)


def test_a_policy_without_overrides_lets_nobody_override(log):
    install(log, DEFAULT[: DEFAULT.index("[overrides]")])
    with pytest.raises(PolicyRefused, match="the policy allows nothing"):
        ask(log)


def test_a_changed_record_is_noticed(tmp_path):
    log = PolicyLog(open_database(f"sqlite:///{tmp_path / 'p.db'}"))
    install(log)
    with transaction(log.engine) as connection:
        connection.exec_driver_sql("UPDATE policies SET payload = replace(payload, 'ada', 'eve')")
    with pytest.raises(JournalBroken, match="was changed"):
        log.log.verify()


@pytest.mark.parametrize("written", ['"inf"', "inf", '"NaN"', "nan", '"-1"', "-1", '"-0.5"'])
def test_no_way_of_writing_it_makes_a_limit_of_what_bounds_nothing(written):
    """As text, infinity was a limit in force that no drawdown ever reached."""
    with pytest.raises(PolicyInvalid, match=r"loss\.max_drawdown cannot be"):
        parse_policy(DEFAULT.replace("max_drawdown = 0.50", f"max_drawdown = {written}"))


@pytest.mark.parametrize("lot", ["0", "-1", '"0"'])
def test_a_lot_has_a_unit_at_least(lot):
    with pytest.raises(PolicyInvalid, match=r"size\.lot"):
        parse_policy(DEFAULT.replace("lot = 1 ", f"lot = {lot} "))


def test_allowed_overrides_name_limits_that_exist():
    with pytest.raises(PolicyInvalid, match="no limit"):
        parse_policy('name = "x"\n[overrides]\nallowed = ["loss.max_nothing"]')


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        ("max_drawdown = 0.50", "max_drawdown = 0.60", "looser"),
        ("max_drawdown = 0.50", "max_drawdown = 0.40", "tighter"),
        ("max_drawdown = 0.50  # from", "# from", "tighter"),
        ("min_cash_of_equity = -0.05", "min_cash_of_equity = -0.10", "looser"),
        ("cooldown_sessions = 5", "cooldown_sessions = 4", "looser"),
        ("lot = 1  #", "lot = 100  #", "tighter"),
        ("allow_short = false", "allow_short = true", "looser"),
        ("volume_required = false", "volume_required = true", "tighter"),
        ('entitled = ["engine"]', 'entitled = ["engine", "desk"]', "looser"),
        ("restricted = []", 'restricted = ["AAPL"]', "tighter"),
        ('live_stages = ["production"]', 'live_stages = ["staging"]', "other"),
        ('name = "paper default"', 'name = "another"', "other"),
    ],
)
def test_a_diff_tells_what_lets_more_through(old, new, effect):
    assert DEFAULT.count(old) == 1
    (change,) = diff(default_policy(), parse_policy(DEFAULT.replace(old, new)))
    assert change.effect == effect
    assert change.before != change.after
    (back,) = diff(parse_policy(DEFAULT.replace(old, new)), default_policy())
    assert back.effect == {"looser": "tighter", "tighter": "looser"}.get(effect, "other")


def test_a_review_names_policy_person_and_outcome_and_the_next_is_due_in_a_year(log):
    assert log.review_due() is None
    with pytest.raises(PolicyRefused, match="policy 1 is not in force, none is"):
        log.review(1, by="ada", why="yearly", at=AT)
    first = install(log).active
    year = timedelta(days=365)
    assert log.review_due() == AT + year
    install(log, TIGHT, at=AT + HOUR)
    assert log.review_due() == AT + year, "a change is no review"
    seen = AT + 300 * HOUR
    with pytest.raises(PolicyRefused, match="policy 1 is not in force, 2 is"):
        log.review(1, by="ada", why="yearly", at=seen)
    for by, why in ((" ", "yearly"), ("ada", " ")):
        with pytest.raises(PolicyRefused):
            log.review(2, by=by, why=why, at=seen)
    done = log.review(2, by="ada", why="yearly; streak stays at 15", at=seen)
    assert log.review(2, by="ada", why="yearly; streak stays at 15", at=seen) == done
    other = PolicyLog(log.engine)
    assert other.reviews() == (done,)
    assert (done.number, done.hash, done.by) == (2, log.active().hash, "ada")
    assert done.hash != first.hash
    assert other.review_due() == seen + year
    assert log.log.verify().seq == 3


def test_equal_policies_have_no_difference():
    assert diff(default_policy(), parse_policy(DEFAULT + "# nothing")) == ()


@given(
    st.lists(
        st.tuples(st.sampled_from(["ask", "approve", "revoke", "wait"]), st.integers(0, 3)),
        max_size=12,
    )
)
def test_no_sequence_of_acts_lets_one_person_alone_change_a_limit(steps):
    with tempfile.TemporaryDirectory() as folder:
        log = PolicyLog(open_database(f"sqlite:///{folder}/p.db"))
        install(log)
        at, asked = AT, []
        for what, number in steps:
            at += timedelta(minutes=7)
            try:
                if what == "ask":
                    asked.append(ask(log, f"0.{60 + number}", at=at, seconds=1200).id)
                elif asked and what != "wait":
                    getattr(log, what)(asked[number % len(asked)], by="Ada", at=at)
            except PolicyRefused:
                continue
        assert drawdown(log, at) == Decimal("0.50")
        log.engine.dispose()
