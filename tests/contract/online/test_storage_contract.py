"""Storage of online values is shared whole by readers and writers, and named where it is away."""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event, Thread

import numpy as np
import pytest

from featurestore.errors import OnlineUnavailable
from featurestore.online import OnlineStore, open_online
from featurestore.online.cells import Update, pack
from featurestore.online.layout import Column
from featurestore.online.metrics import OnlineMetrics
from featurestore.times import micros
from tests.contract.online.asked import AT, BARS, CLOSE, EARLIER, NAMES, served


def test_another_opener_of_the_same_storage_sees_every_update(another, market):
    first, second = another(), another()
    first.materialize(market, BARS, NAMES, at=EARLIER)
    before = served(second, EARLIER)
    first.materialize(market, [*BARS, "us_index_bars.open"], NAMES, at=AT)
    assert served(second).event_times.min() > before.event_times.max()
    wider = second.get_online_features(["us_index_bars.open", *BARS], NAMES, now=AT)
    assert wider.values[:, 1:].tobytes() == served(second).values.tobytes()


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
