"""The online store keeps its promises in this process, in a shared file and on Valkey."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import (
    ContractBroken,
    FeatureStale,
    HistoryMissing,
    HoldoutSealed,
    OnlineUnavailable,
    ViewUnknown,
)
from featurestore.lake import Lake
from featurestore.online import OnlineStore, open_online
from featurestore.online.cells import ABSENT, Update, pack
from featurestore.online.layout import Column
from featurestore.online.metrics import OnlineMetrics
from featurestore.store import FeatureStore
from featurestore.times import micros
from featurestore.views import FeatureView, Field
from runtime.bundles.inputs import CurrentWeights, Latest, Window, gather

AT = datetime(2018, 6, 29, 21, tzinfo=UTC)
CLOSE = datetime(2018, 6, 29, 20, tzinfo=UTC)
BARS = [f"us_index_bars.{name}" for name in ("close", "volume")]
NAMES = ["NASDAQ", "SP500"]
EARLIER = AT - timedelta(days=3)


@pytest.fixture(params=["memory", "file", "valkey"])
def another(request: pytest.FixtureRequest, tmp_path) -> Callable[[], OnlineStore]:
    """Opens the store; where storage is shared, a second call opens the same one again."""
    if request.param == "memory":
        only = open_online("memory://")
        return lambda: only
    if request.param == "file":
        return lambda: open_online(f"file://{tmp_path / 'online.bin'}")
    url = request.getfixturevalue("valkey_url")
    return lambda: open_online(url, name="contract")


@pytest.fixture
def online(another) -> OnlineStore:
    return another()


def served(online: OnlineStore, now: datetime = AT, **options):
    return online.get_online_features(BARS, NAMES, now=now, **options)


def test_values_carry_event_time_knowledge_time_and_age_as_the_lake_has_them(online, market):
    applied = online.materialize(market, BARS, NAMES, at=AT)
    assert (applied.written, applied.kept) == (4, 0)
    got = served(online, AT + timedelta(hours=1))
    for j, feature in enumerate(BARS):
        truth = market.latest(feature, NAMES, at=AT)
        assert got.values[:, j].tobytes() == truth.values.tobytes()
        assert got.event_times[:, j].tolist() == [micros(t) for t in truth.event_times]
        assert got.known_at[:, j].tolist() == [micros(t) for t in truth.known_at]
    assert got.age(BARS[0], "SP500") == timedelta(hours=2)
    assert not got.stale.any()
    assert (online.features(), online.symbols()) == (tuple(sorted(BARS)), tuple(NAMES))


def test_rows_and_columns_come_in_the_order_asked_for(online, market):
    online.materialize(market, BARS, NAMES, at=AT)
    turned = online.get_online_features(BARS[::-1], NAMES[::-1], now=AT)
    assert turned.values.tolist() == served(online).values[::-1, ::-1].tolist()
    one = online.get_online_features(BARS[1:], ["SP500"], now=AT)
    assert one.values.tolist() == served(online).values[1:, 1:].tolist()


def test_a_stale_value_is_an_error_for_who_needs_it_fresh_and_readable_for_who_does_not(
    online, market
):
    online.materialize(market, BARS, NAMES, at=AT)
    served(online, CLOSE + timedelta(days=5))
    late = CLOSE + timedelta(days=5, seconds=1)
    with pytest.raises(FeatureStale, match=r"close of NASDAQ is 5 days, 0:00:01 old .* is 5 days"):
        served(online, late)
    got = served(online, late, stale="allow")
    assert got.stale.all()
    assert got.values.tobytes() == served(online).values.tobytes()


def test_only_the_values_asked_for_must_be_fresh(online, market):
    online.materialize(market, BARS, ["SP500"], at=EARLIER)
    online.materialize(market, BARS, ["NASDAQ"], at=AT)
    now = CLOSE + timedelta(days=4)
    assert online.get_online_features(BARS, ["NASDAQ"], now=now).values.shape == (1, 2)
    with pytest.raises(FeatureStale, match="SP500"):
        served(online, now)


def test_a_value_not_yet_known_at_now_is_refused(online, market):
    online.materialize(market, BARS, NAMES, at=AT)
    with pytest.raises(HistoryMissing, match=r"was known at .*2018-06-29.*ask the lake"):
        served(online, AT - timedelta(days=1))


def test_what_was_not_materialized_is_named(online, market):
    with pytest.raises(ViewUnknown, match="materialize first"):
        served(online)
    online.materialize(market, BARS, ["SP500"], at=AT)
    with pytest.raises(ViewUnknown, match=r"us_index_bars\.open was not materialized; there are"):
        online.get_online_features(["us_index_bars.open"], ["SP500"], now=AT)
    with pytest.raises(HistoryMissing, match="NASDAQ was not materialized; there are: SP500"):
        served(online)
    online.materialize(market, BARS[:1], ["NASDAQ"], at=AT)
    with pytest.raises(HistoryMissing, match="volume of NASDAQ was not materialized"):
        served(online)
    with pytest.raises(ContractBroken, match="ask for features and symbols"):
        online.get_online_features(BARS, [], now=AT)


def test_materializing_again_changes_nothing_and_an_older_one_never_replaces_a_newer(
    online, market
):
    online.materialize(market, BARS, NAMES, at=AT, windows={BARS[0]: 5})
    before, window = served(online), online.window(BARS[0], NAMES, length=5, at=AT)
    online.materialize(market, BARS, NAMES, at=AT, windows={BARS[0]: 5})
    older = online.materialize(market, BARS, NAMES, at=EARLIER, windows={BARS[0]: 5})
    assert (older.written, older.kept) == (0, 6)
    assert served(online).packed.tobytes() == before.packed.tobytes()
    assert online.window(BARS[0], NAMES, length=5, at=AT).tobytes() == window.tobytes()


def test_another_opener_of_the_same_storage_sees_every_update(another, market):
    first, second = another(), another()
    first.materialize(market, BARS, NAMES, at=EARLIER)
    before = served(second, EARLIER)
    first.materialize(market, [*BARS, "us_index_bars.open"], NAMES, at=AT)
    assert served(second).event_times.min() > before.event_times.max()
    wider = second.get_online_features(["us_index_bars.open", *BARS], NAMES, now=AT)
    assert wider.values[:, 1:].tobytes() == served(second).values.tobytes()


def test_the_seal_holds_and_then_nothing_is_written(online, market_lake):
    with pytest.raises(HoldoutSealed):
        online.materialize(market_lake.reader(sealed_from=AT), BARS, NAMES, at=AT)
    assert online.symbols() == ()


@pytest.mark.parametrize(
    ("features", "symbols", "windows"),
    [
        ([], NAMES, {}),
        (BARS, [], {}),
        (BARS * 2, NAMES, {}),
        (BARS, ["SP500", "SP500"], {}),
        (BARS[:1], NAMES, {BARS[1]: 5}),
        (BARS, NAMES, {BARS[0]: 0}),
    ],
)
def test_a_materialization_that_cannot_be_meant_is_refused(
    online, market, features, symbols, windows
):
    with pytest.raises(ContractBroken):
        online.materialize(market, features, symbols, at=AT, windows=windows)
    assert online.features() == ()


def test_a_window_is_the_lakes_to_the_bit_or_an_error(online, market):
    online.materialize(market, BARS, NAMES, at=AT, windows={BARS[0]: 60})
    for length in (1, 21, 60):
        truth = market.window(BARS[0], NAMES, length=length, at=AT)
        assert online.window(BARS[0], NAMES, length=length, at=AT).tobytes() == truth.tobytes()
    sunday = AT + timedelta(days=2)  # nothing new is due yet
    truth = market.window(BARS[0], NAMES, length=60, at=sunday)
    assert online.window(BARS[0], NAMES, length=60, at=sunday).tobytes() == truth.tobytes()
    with pytest.raises(FeatureStale, match=r"2018-07-02.*push it"):
        online.window(BARS[0], NAMES, length=60, at=AT + timedelta(days=3))
    with pytest.raises(HistoryMissing, match="ask the lake about the past"):
        online.window(BARS[0], NAMES, length=60, at=EARLIER)
    with pytest.raises(HistoryMissing, match=r"a window of 60 bars of NASDAQ is online, .* 61"):
        online.window(BARS[0], NAMES, length=61, at=AT)
    with pytest.raises(HistoryMissing, match=r"no window .* materialize with windows="):
        online.window(BARS[1], NAMES, length=2, at=AT)


def test_a_decision_gathers_the_same_bits_online_as_from_the_lake(online, market):
    inputs = {
        "closes": Window(feature=BARS[0], length=60),
        "volume": Latest(feature=BARS[1]),
        "current": CurrentWeights(),
    }
    online.materialize(market, BARS, NAMES, at=AT, windows={BARS[0]: 60, BARS[1]: 1})
    held = np.array([0.5, 0.25])
    live = gather(online, inputs, NAMES, at=AT, current=held)
    lake = gather(market, inputs, NAMES, at=AT, current=held)
    assert {name: each.tobytes() for name, each in live.items()} == {
        name: each.tobytes() for name, each in lake.items()
    }


def bars(market, start: datetime, end: datetime, symbols=("SP500",)) -> pl.DataFrame:
    """Rows as a feed would push them: those of the lake."""
    frames = [
        market.history(f"us_index_bars.{field.name}", symbols, start.date(), end.date())
        for field in market.view("us_index_bars").fields
    ]
    whole = frames[0]
    for frame in frames[1:]:
        whole = whole.join(frame.drop("known_at"), on=["symbol", "event_time"])
    return whole.rename({"symbol": "entity"})


def test_pushed_bars_move_points_and_windows_on_as_a_materialization_would(online, market):
    view, later = market.view("us_index_bars"), AT + timedelta(days=6)
    online.materialize(market, BARS, ["SP500"], at=AT, windows={BARS[0]: 60})
    frame = bars(market, AT + timedelta(days=1), later).reverse()
    assert frame.height == 3  # Independence Day is no session
    applied = online.push(view, frame, at=later)
    assert (applied.kept, applied.late) == (0, 0)
    truth = market.window(BARS[0], ["SP500"], length=60, at=later)
    assert online.window(BARS[0], ["SP500"], length=60, at=later).tobytes() == truth.tobytes()
    got = online.get_online_features(BARS, ["SP500"], now=later)
    latest = [market.latest(feature, ["SP500"], at=later).values[0] for feature in BARS]
    assert got.values.tolist() == [latest]
    assert online.push(view, frame, at=later).written <= len(view.fields)  # equal values again
    assert online.window(BARS[0], ["SP500"], length=60, at=later).tobytes() == truth.tobytes()


def test_a_bar_that_leaves_a_hole_in_a_window_is_refused_and_nothing_is_written(online, market):
    view, later = market.view("us_index_bars"), AT + timedelta(days=6)
    online.materialize(market, BARS, ["SP500"], at=AT, windows={BARS[0]: 60})
    frame = bars(market, AT + timedelta(days=1), later)[1:]
    with pytest.raises(HistoryMissing, match="does not follow it; push session 2018-07-02 first"):
        online.push(view, frame, at=later)
    got = online.get_online_features(BARS, ["SP500"], now=AT)
    assert got.event_times.tolist() == [[micros(CLOSE)] * 2]


def test_a_late_bar_leaves_the_newer_ones_and_is_counted(online, market):
    view = market.view("us_index_bars")
    online.materialize(market, BARS, ["SP500"], at=AT, windows={BARS[0]: 60})
    applied = online.push(view, bars(market, EARLIER, EARLIER), at=AT)
    assert (applied.kept, applied.late) == (2, 1)  # two points and one window stand
    truth = market.window(BARS[0], ["SP500"], length=60, at=AT)
    assert online.window(BARS[0], ["SP500"], length=60, at=AT).tobytes() == truth.tobytes()


def test_a_pushed_correction_replaces_the_newest_bar_and_nothing_else(online, market):
    view = market.view("us_index_bars")
    online.materialize(market, BARS, ["SP500"], at=AT, windows={BARS[0]: 3})
    frame = bars(market, CLOSE, CLOSE).with_columns(
        close=pl.col("close") + 1.0, known_at=pl.col("known_at") + timedelta(hours=2)
    )
    frame = frame.with_columns(revision=pl.lit(1), high=pl.max_horizontal("high", "close"))
    online.push(view, frame, at=AT + timedelta(hours=3))
    now = AT + timedelta(hours=4)
    truth = market.window(BARS[0], ["SP500"], length=3, at=AT)[0].tolist()
    got = online.window(BARS[0], ["SP500"], length=3, at=now)[0].tolist()
    assert got == [*truth[:2], truth[2] + 1.0]
    assert online.get_online_features(BARS[:1], ["SP500"], now=now).values[0, 0] == truth[2] + 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"close": -1.0}, "value out of range"),
        ({"known_at": AT + timedelta(days=400)}, "known in the future"),
        ({"event_time": CLOSE + timedelta(minutes=1)}, "known too early"),
    ],
)
def test_a_pushed_row_that_breaks_the_contract_is_refused(online, market, change, message):
    frame = bars(market, CLOSE, CLOSE).with_columns(
        **{name: pl.lit(value) for name, value in change.items()}
    )
    with pytest.raises(ContractBroken, match=message):
        online.push(market.view("us_index_bars"), frame, at=AT)
    assert online.symbols() == ()


def test_a_computed_feature_is_served_with_its_inputs_age_and_the_lakes_bits(online, market):
    names = ["momentum(us_index_bars.close, lookback=60, skip=5)", "sma(us_index_bars.close)"]
    online.materialize(market, names, NAMES, at=AT, windows={names[1]: 5})
    got = online.get_online_features(names, NAMES, now=AT)
    for j, name in enumerate(names):
        truth = market.latest(name, NAMES, at=AT)
        assert got.values[:, j].tobytes() == truth.values.tobytes()
        assert got.event_times[:, j].tolist() == [micros(t) for t in truth.event_times]
    truth = market.window(names[1], NAMES, length=5, at=AT)
    assert online.window(names[1], NAMES, length=5, at=AT).tobytes() == truth.tobytes()
    with pytest.raises(FeatureStale, match="momentum"):
        online.get_online_features(names, NAMES, now=AT + timedelta(days=9))


def test_a_new_definition_of_a_view_is_another_column_until_every_symbol_is_materialized(
    online, tmp_path
):
    store = FeatureStore(Lake(str(tmp_path / "lake")))
    view = FeatureView(
        name="rates",
        entity="symbol",
        fields=(Field(name="level", unit="percent"),),
        freshness=timedelta(days=5),
        owner="tests",
        description="first wording",
        source="made up",
    )
    rows = pl.DataFrame(
        {"entity": ["A", "B"], "event_time": [AT, AT], "known_at": [AT, AT], "level": [1.0, 2.0]}
    )
    store.apply(view)
    store.ingest("rates", rows)
    online.materialize(store.reader(store.snapshot()), ["rates.level"], ["A", "B"], at=AT)
    other = FeatureView(
        **{name: getattr(view, name) for name in view.__dataclass_fields__}
        | {"description": "second wording"}
    )
    store.apply(other)
    online.materialize(store.reader(store.snapshot()), ["rates.level"], ["A"], at=AT)
    got = online.get_online_features(["rates.level"], ["A"], now=AT)
    assert (got.values.tolist(), got.versions) == ([[1.0]], (other.version_hash,))
    with pytest.raises(HistoryMissing, match="of B was not materialized"):
        online.get_online_features(["rates.level"], ["B"], now=AT)


def test_a_reader_never_sees_half_an_update(another):
    writer, reader = another(), another()
    symbols = tuple(f"S{i}" for i in range(30))
    columns = tuple(
        Column(feature=f"v.f{j}", version_hash="0" * 64, freshness=10**18, availability=0)
        for j in range(8)
    )

    def write(number: int) -> None:
        shape = (len(symbols), len(columns))
        times = np.full(shape, 1_000 + number)
        packed = pack(np.full(shape, float(number)), times, times)
        update = Update(columns=columns, symbols=symbols, packed=packed, at=number)
        writer.backend.apply(update)

    write(0)
    done = Event()
    torn: list[object] = []

    def read() -> None:
        while not done.is_set():
            cells = reader.backend.read([column.feature for column in columns], symbols)
            if len(np.unique(cells.packed[:, 1])) != 1 or len(np.unique(cells.packed[:, 0])) != 1:
                torn.append(cells)

    threads = [Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 60):
        write(number)
    done.set()
    for thread in threads:
        thread.join()
    assert torn == []


def test_writers_in_parallel_lose_nothing(another):
    stores = [another() for _ in range(4)]

    def write(number: int) -> None:
        for step in range(10):
            column = Column(
                feature=f"v.f{number}", version_hash="0" * 64, freshness=10**18, availability=0
            )
            at = np.array([[10 * step + number]])
            packed = pack(at.astype(float), at, at)
            stores[number].backend.apply(
                Update(columns=(column,), symbols=(f"S{step}",), packed=packed, at=step)
            )

    threads = [Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [f"v.f{number}" for number in range(4)]
    cells = stores[0].backend.read(names, [f"S{step}" for step in range(10)])
    expected = [[10 * step + number for number in range(4)] for step in range(10)]
    assert cells.packed[:, 1].tolist() == expected


cell = st.tuples(
    st.sampled_from(["A", "B", "C"]),
    st.sampled_from(["v.x", "v.y"]),
    st.integers(0, 4),  # event time
    st.integers(0, 3),  # knowledge time after it
)


@given(st.lists(cell, min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_updates_in_any_order_end_with_the_newest_known_value_of_the_newest_event(cells, random):
    def column(feature: str) -> Column:
        return Column(feature=feature, version_hash="0" * 64, freshness=1, availability=0)

    expected: dict[tuple[str, str], tuple[int, int]] = {}
    for symbol, feature, event, lag in cells:
        rank = (event, event + lag)
        expected[symbol, feature] = max(expected.get((symbol, feature), rank), rank)
    online = open_online("memory://")
    shuffled = [*cells, *cells]
    random.shuffle(shuffled)
    for symbol, feature, event, lag in shuffled:
        value = np.array([[100.0 * event + lag]])
        packed = pack(value, np.array([[event]]), np.array([[event + lag]]))
        online.backend.apply(
            Update(columns=(column(feature),), symbols=(symbol,), packed=packed, at=event + lag)
        )
    for (symbol, feature), (event, known) in expected.items():
        got = online.backend.read([feature], [symbol]).packed[0, :, 0]
        assert got[1:].tolist() == [event, known]
        assert got[:1].view(np.float64)[0] == 100.0 * event + (known - event)
    held = online.backend.read(online.features(), online.symbols()).packed[:, 1]
    assert int((held != ABSENT).sum()) == len(expected)


def test_a_file_cut_short_or_of_another_kind_is_named(tmp_path, market):
    path = tmp_path / "online.bin"
    open_online(f"file://{path}").materialize(market, BARS, NAMES, at=AT)
    whole = path.read_bytes()
    for content, message in (
        (whole[:-8], "cut short"),
        (whole[:5], "cut short"),
        (b"another!" + whole[8:], "not a file of this store"),
    ):
        path.unlink()
        path.write_bytes(content)
        with pytest.raises(OnlineUnavailable, match=message):
            served(open_online(f"file://{path}"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://there", "begins with memory, file or redis"),
        ("nonsense", "begins with memory"),
        ("redis://:secret@127.0.0.1:1/0", r"at 127\.0\.0\.1 does not answer"),
    ],
)
def test_a_url_that_leads_nowhere_says_so_without_its_password(url, message):
    with pytest.raises(OnlineUnavailable, match=message) as raised:
        open_online(url)
    assert "secret" not in str(raised.value)


def test_a_folder_that_is_not_there_is_named(tmp_path, market):
    online = open_online(f"file://{tmp_path / 'no' / 'online.bin'}")
    with pytest.raises(OnlineUnavailable, match="is its folder there"):
        online.materialize(market, BARS, NAMES, at=AT)


def test_a_connection_that_the_server_dropped_is_made_again(valkey_server, valkey_url, market):
    online = open_online(valkey_url, name="dropped")
    online.materialize(market, BARS, NAMES, at=AT)
    before = served(online)
    with valkey_server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    assert served(online).packed.tobytes() == before.packed.tobytes()
    online.materialize(market, BARS, NAMES, at=AT)


def test_a_server_that_goes_away_is_an_error_that_says_so(market):
    from tests.servers import private_valkey

    with private_valkey() as server:
        online = open_online(server.url.replace("redis://", "valkey://"))
        online.materialize(market, BARS, NAMES, at=AT)
        assert served(online).values.shape == (2, 2)
        server.kill()
        with pytest.raises(OnlineUnavailable, match="does the server run"):
            served(online)
        with pytest.raises(OnlineUnavailable, match="may be repeated"):
            online.materialize(market, BARS, NAMES, at=AT)


def test_a_feature_of_one_entity_is_online_for_every_symbol(online, market):
    broad = "us_index_bars.close[SP500]"
    online.materialize(market, ["us_equities.close", broad], ["AAPL", "MSFT"], at=AT)
    got = online.get_online_features([broad], ["AAPL", "MSFT"], now=AT)
    truth = market.latest("us_index_bars.close", ["SP500"], at=AT).values[0]
    assert got.values.tolist() == [[truth], [truth]]


def scraped(store: Callable[[], OnlineStore], now: datetime) -> dict[tuple[str, str], float]:
    metrics = OnlineMetrics(store, lambda: micros(now))
    samples = [sample for family in metrics.collect() for sample in family.samples]
    return {(one.name, one.labels.get("feature", "")): one.value for one in samples}


def test_a_scrape_tells_the_age_of_the_oldest_value_beside_what_is_allowed(another, market):
    assert scraped(another, AT) == {("sluice_online_up", ""): 1.0}
    another().materialize(market, BARS, NAMES, at=AT)
    found = scraped(another, CLOSE + timedelta(days=6))
    assert found["sluice_online_values", BARS[0]] == 2.0
    assert found["sluice_online_age_seconds", BARS[0]] == timedelta(days=6).total_seconds()
    assert found["sluice_feature_age_of_limit", BARS[1]] == pytest.approx(6 / 5)


def test_a_scrape_of_a_store_that_is_away_says_so_and_nothing_else():
    assert scraped(lambda: open_online("redis://127.0.0.1:1/0"), AT) == {
        ("sluice_online_up", ""): 0.0
    }
