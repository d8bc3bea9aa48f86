"""The leak zoo: every peeking feature is caught and named, no honest one is accused."""

from datetime import UTC, datetime, timedelta
from functools import partial

import polars as pl
import pytest

from featurestore.audit import audit_feature, audit_join, audit_reads, audit_split, audit_view
from featurestore.errors import ContractBroken, FeatureUndefined
from featurestore.frontier import Frontier, build_frontier
from featurestore.pit import join_as_of
from featurestore.reader import LakeReader
from tests.fakes.leak_zoo import honest, joins, land, peeking

pytestmark = pytest.mark.filterwarnings("ignore:Sortedness of columns:UserWarning")

BARS, MACRO = land.bars(), land.macro()
SPINE = joins.spine_of(MACRO)
LEAKS = [(f, BARS) for f in peeking.BARS_LEAKS] + [(f, MACRO) for f in peeking.MACRO_LEAKS]
HONEST = [(f, BARS) for f in honest.BARS_HONEST] + [(f, MACRO) for f in honest.MACRO_HONEST]
MARKET_WIDE = {peeking.full_sample_pca, peeking.captured_frame}

# What the first leak is about, where the animal is tame enough to know it.
KNOWN = {
    peeking.one_bar_in_one_name: ("value", "BBB", land.CLOSES[0], "the next instant"),
    peeking.five_bars_ahead: ("value", "AAA", land.CLOSES[0], "5 instants later"),
    peeking.centred_rolling_mean: ("value", "AAA", land.CLOSES[5], "5 instants later"),
    peeking.global_scaling: ("value", "AAA", land.CLOSES[0], "everything up to the end"),
    peeking.split_adjusted_by_later_factors: ("value", "BBB", land.CLOSES[0], "80 instants later"),
    peeking.todays_universe: ("row", "DDD", land.CLOSES[0], "90 instants later"),
    peeking.time_zone_slip: ("row", "AAA", land.CLOSES[0] - timedelta(hours=5), "the next instant"),
    peeking.same_bar_range_at_the_open: ("row", "AAA", land.SESSIONS[0].open, "the next instant"),
    peeking.revised_macro: (
        "value",
        "CPI",
        datetime(2017, 1, 31, 13, tzinfo=UTC),
        "3 instants later",
    ),
    peeking.random_noise: ("unsteady", "AAA", land.CLOSES[0], ""),
    peeking.captured_frame: ("outside", "", None, ""),
    peeking.needs_the_last_session: ("fails", "AAA", land.CLOSES[0], "everything up to the end"),
}


def test_the_zoo_has_as_many_kinds_as_it_promises():
    assert len(LEAKS) + len(joins.JOIN_LEAKS) >= 30
    assert len(HONEST) + len(joins.JOIN_HONEST) >= 15
    assert len({f.__name__ for f, _ in LEAKS}) == len(LEAKS)


@pytest.mark.parametrize(("feature", "rows"), LEAKS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_peeking_feature_is_caught_and_named(feature, rows):
    report = audit_feature(feature, rows)
    assert report.leaks, report
    leak = report.leaks[0]
    assert leak.feature.split(".")[0] == feature.__name__
    assert leak.kind == "outside" or leak.at is not None
    assert leak.entity in rows["entity"].unique().to_list() or feature in MARKET_WIDE
    if feature in KNOWN:
        kind, entity, at, reach = KNOWN[feature]
        assert (leak.kind, leak.entity, leak.at) == (kind, entity, at)
        assert reach in leak.reach
    text = str(leak)
    assert leak.feature in text
    assert leak.remedy in text


@pytest.mark.parametrize(("feature", "rows"), HONEST, ids=lambda v: getattr(v, "__name__", ""))
def test_an_honest_feature_raises_no_false_alarm(feature, rows):
    report = audit_feature(feature, rows, samples=24)
    assert report.clean, report
    assert report.notes == ()
    assert report.checked >= 14


@pytest.mark.parametrize("join", joins.JOIN_LEAKS, ids=lambda f: f.__name__)
def test_a_peeking_join_is_caught_by_its_canaries(join):
    report = audit_join(join, SPINE, MACRO)
    assert joins.JOIN_LEAKS[join] in [leak.kind for leak in report.leaks], report
    leak = report.leaks[0]
    assert (leak.feature, leak.entity) == (f"{join.__name__}.value", "CPI")
    assert leak.at is not None


@pytest.mark.parametrize("join", [*joins.JOIN_HONEST, join_as_of], ids=lambda f: f.__name__)
def test_an_honest_join_raises_no_false_alarm(join):
    assert audit_join(join, SPINE, MACRO).leaks == ()


def test_the_first_date_is_exact_where_the_leak_goes_on_from_there():
    start = land.CLOSES[77]

    def late_peek(frame):
        peek = land.CLOSE.shift(-1).over("entity")
        return land.answer(frame, pl.when(pl.col("known_at") >= start).then(peek))

    (leak,) = audit_feature(late_peek, BARS).leaks
    assert (leak.at, leak.entity) == (start, "AAA")


def test_each_leaking_column_is_named_and_the_honest_one_is_not():
    def three(frame):
        return frame.select(
            "entity",
            pl.col("known_at").alias("at"),
            land.CLOSE.rolling_mean(3).over("entity").alias("honest"),
            land.CLOSE.shift(-1).over("entity").alias("next"),
            land.CLOSE.max().over("entity").alias("top"),
        )

    report = audit_feature(three, BARS)
    assert report.features == ("three.honest", "three.next", "three.top")
    assert [leak.feature for leak in report.leaks] == ["three.next", "three.top"]


def test_last_bits_that_differ_are_a_note_about_float_order_and_no_leak():
    def summed_from_the_end(frame):
        total = land.CLOSE.sum() - land.CLOSE.reverse().cum_sum().reverse() + land.CLOSE
        return land.answer(frame, total.over("entity"))

    report = audit_feature(summed_from_the_end, BARS)
    assert report.clean
    assert len(report.notes) == 1
    assert "last bits" in report.notes[0]


def test_data_hidden_in_a_default_a_partial_a_closure_or_a_helper_is_outside_data():
    def helper(frame):
        return land.answer(frame, land.CLOSE / BARS["close"].max())

    def by_default(frame, prices=BARS):
        return land.answer(frame, land.CLOSE / prices["close"].max())

    def two(frame, prices):
        return land.answer(frame, land.CLOSE / prices["close"].max())

    def through_helper(frame):
        return helper(frame)

    for hidden in (helper, by_default, partial(two, prices=BARS), through_helper):
        (leak,) = audit_feature(hidden, BARS, name="hidden").leaks
        assert leak.kind == "outside", hidden
        assert "DataFrame" in leak.seen


UNFIT = {
    "duplicate": (lambda: pl.concat([BARS, BARS[:1]]), r"momentum: AAA has two rows of 2019-01-02"),
    "naive": (
        lambda: BARS.with_columns(pl.col("known_at").dt.replace_time_zone(None)),
        r"known_at is Datetime.*must be a time with zone",
    ),
    "no knowledge time": (lambda: BARS.drop("known_at"), r"the rows lack known_at"),
    "empty": (lambda: BARS.clear(), r"momentum: nothing was computed"),
}


@pytest.mark.parametrize("fault", UNFIT)
def test_rows_that_are_not_unique_or_not_dated_are_refused(fault):
    make, message = UNFIT[fault]
    with pytest.raises(ContractBroken, match=message):
        audit_feature(honest.momentum, make())


def test_an_answer_that_cannot_be_placed_in_time_is_refused_in_one_sentence():
    def short(frame):
        return frame["close"].head(3)

    def timeless(frame):
        return frame.select("entity", "close")

    def naive(frame):
        at = pl.col("known_at").dt.replace_time_zone(None).alias("at")
        return frame.select("entity", at, "close")

    for feature, message in (
        (short, "3 values for 554 rows"),
        (timeless, "has no time"),
        (naive, "must carry a zone"),
    ):
        with pytest.raises(ContractBroken, match=message):
            audit_feature(feature, BARS)


def test_several_answers_for_one_instant_are_reported():
    def doubled(frame):
        answer = frame.select("entity", pl.col("known_at").alias("at"), "close")
        return pl.concat([answer, answer])

    (leak,) = audit_feature(doubled, BARS).leaks
    assert (leak.kind, leak.entity, leak.at) == ("duplicate", "AAA", land.CLOSES[0])


def labels(first, n, horizon):
    starts = [land.CLOSES[first + i] for i in range(n)]
    ends = [land.CLOSES[first + i + horizon] for i in range(n)]
    return pl.DataFrame({"entity": ["AAA"] * n, "start": starts, "end": ends})


def test_training_labels_that_reach_into_the_test_period_are_named():
    report = audit_split(labels(0, 60, 10), labels(60, 20, 10), name="forward_return")
    (leak,) = report.leaks
    assert (leak.kind, leak.entity, leak.at) == ("overlap", "AAA", land.CLOSES[51])
    assert "9 of 60 training labels overlap" in leak.seen
    purged = labels(0, 51, 10)
    assert audit_split(purged, labels(60, 20, 10)).clean
    after = labels(91, 20, 10)
    assert audit_split(after, labels(60, 20, 10)).clean
    assert not audit_split(after, labels(60, 20, 10), embargo=timedelta(days=10)).clean
    with pytest.raises(ContractBroken, match="lack end"):
        audit_split(purged.drop("end"), purged)


def test_declared_views_of_real_history_are_clean(market):
    for view in ("us_equities", "us_core_cpi"):
        if view in market.contracts:
            report = audit_view(market, view)
            assert report.clean, report
    assert "us_equities" in market.contracts


def test_a_face_that_serves_what_is_known_a_day_later_is_caught(market, monkeypatch):
    honest = Frontier.join

    def peeking(self, spine, fields):
        return honest(self, spine.with_columns(pl.col("at") + timedelta(days=1)), fields)

    monkeypatch.setattr(Frontier, "join", peeking)
    report = audit_view(market, "us_equities")
    assert report.leaks[0].kind == "canary"
    assert not report.clean


def test_a_kept_frontier_that_lies_is_caught_by_the_audit_of_its_view(market_lake, monkeypatch):
    market = market_lake.reader()
    rows = market.rows("us_equities").with_columns(pl.col("close").shift(-1).fill_null(1.0))
    lie = build_frontier(rows)
    monkeypatch.setattr(LakeReader, "_frontier", lambda self, view: lie)
    (leak,) = audit_view(market, "us_equities").leaks
    assert (leak.feature, leak.kind) == ("us_equities.close", "value")


def test_an_audit_leaves_out_instants_without_a_value_and_says_why_if_none_is_left(market):
    symbols = market.symbols("us_equities")[:1]
    times = [datetime(2005, 3, d, 21, tzinfo=UTC) for d in (1, 2, 8)]

    def read(reader, at):
        if at != times[1]:
            raise FeatureUndefined("its window allows no finite value")
        return {"close": reader.window("us_equities.close", symbols, length=1, at=at)}

    assert audit_reads("some", read, market, times, symbols).checked == 1
    with pytest.raises(ContractBroken, match="no value at any of 2 instants tried: its window"):
        audit_reads("none", read, market, times[::2], symbols)


def test_a_read_that_looks_past_its_instant_is_caught_and_an_honest_one_is_not(market):
    symbols = market.symbols("us_equities")[:3]
    times = [datetime(2005, 3, d, 21, tzinfo=UTC) for d in (1, 2, 8)]

    def honest(reader, at):
        return {"prices": reader.window("us_equities.close", symbols, length=20, at=at)}

    def peeking(reader, at):
        later = at + timedelta(days=5)
        return honest(reader, at) | {
            "soon": reader.latest("us_equities.close", symbols, at=later).values
        }

    assert audit_reads("honest", honest, market, times, symbols).clean
    (leak,) = audit_reads("peeking", peeking, market, times, symbols).leaks
    assert (leak.feature, leak.at, leak.entity) == ("soon", times[0], symbols[0])
