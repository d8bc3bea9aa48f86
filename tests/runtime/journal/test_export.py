"""What notebooks read is exact, is proved against the chain, and says against which head."""

from datetime import date
from decimal import Decimal

import polars as pl
import pytest

from runtime.database import open_database, transaction
from runtime.errors import ExportImpossible, JournalBroken
from runtime.journal.export import KINDS, export
from runtime.journal.store import Journal
from tests.contract.test_journal_contract import record_trading


@pytest.fixture
def journal(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'a.db'}")
    journal = Journal(engine)
    record_trading(journal)
    yield journal
    engine.dispose()


def test_fills_keep_every_place_and_the_head_they_were_proved_against(journal, tmp_path):
    done = export(journal, "fills", tmp_path / "out" / "fills.parquet")
    table = pl.read_parquet(done.path)
    assert done.rows == table.height == 2
    assert table["price"].to_list() == [Decimal("10.005000"), Decimal("10.010000")]
    assert table["executed_at"].to_list() == [one.fill.executed_at for one in journal.fills()]
    assert table["stands"].to_list() == [True, True]
    head = journal.head()
    told = pl.read_parquet_metadata(done.path)
    assert (told["sluice.head"], told["sluice.account"]) == (f"{head.seq} {head.hash}", "paper")


def test_decisions_have_a_row_per_symbol_with_what_refused_it(journal, tmp_path):
    table = pl.read_parquet(export(journal, "decisions", tmp_path / "d.parquet").path)
    assert table["symbol"].to_list() == ["AAA", "BBB"]
    assert table["weight"].to_list() == [0.75, -0.0]
    assert table["planned"].to_list() == [Decimal(100), Decimal(5000)]
    assert table["denied_by"].to_list() == ["", "3 size"]


def test_orders_and_sessions_are_as_the_journal_says(journal, tmp_path):
    orders = pl.read_parquet(export(journal, "orders", tmp_path / "o.parquet").path)
    assert orders["state"].to_list() == ["filled", "expired"]
    sessions = pl.read_parquet(export(journal, "sessions", tmp_path / "s.parquet").path)
    assert sessions["equity"].to_list() == [journal.sessions()[0].equity]


def test_days_narrow_what_is_written(journal, tmp_path):
    early, late = date(2016, 1, 1), date(2016, 12, 31)
    for what in KINDS:
        assert export(journal, what, tmp_path / what, start=early, end=late).rows == 0
        assert export(journal, what, tmp_path / what, start=early).rows > 0


def test_the_same_record_gives_the_same_file(journal, tmp_path):
    first = export(journal, "fills", tmp_path / "1.parquet")
    assert export(journal, "fills", tmp_path / "2.parquet").sha256 == first.sha256


def test_a_journal_that_does_not_hold_is_not_exported(journal, tmp_path):
    with transaction(journal.engine) as connection:
        connection.exec_driver_sql("UPDATE journal_fills SET price = '9.99'")
    with pytest.raises(JournalBroken):
        export(journal, "fills", tmp_path / "fills.parquet")
    assert not (tmp_path / "fills.parquet").exists()


def test_what_cannot_be_exported_says_so(journal, tmp_path):
    with pytest.raises(ExportImpossible, match="one of decisions, orders, fills, sessions"):
        export(journal, "secrets", tmp_path / "x.parquet")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportImpossible, match="cannot be written"):
        export(journal, "fills", tmp_path / "file" / "x.parquet")
