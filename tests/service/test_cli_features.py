"""`sluice features`: what a person reads and what a machine reads, and how each command ends."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

from featurestore.lake import Lake
from featurestore.store import FeatureStore
from featurestore.views import FeatureView, Field
from service.cli import app
from tests.fakes.notebooks import PARAMETERS, STUDY, code_cell, write_notebook

CPI = FeatureView(
    name="cpi",
    entity="series",
    fields=(Field(name="index", unit="1982-84 = 100", low=0.0, high=500.0),),
    availability=timedelta(days=10),
    freshness=timedelta(days=40),
    owner="tests",
    description="Consumer prices. Monthly.",
    source="tests",
)
RELEASES = [(month, 0, 100.0 + month) for month in range(1, 10)] + [(3, 1, 103.5)]


def frame(rows=RELEASES):
    events = [datetime(2020, month, 1, tzinfo=UTC) for month, _, _ in rows]
    return pl.DataFrame(
        {
            "entity": ["US"] * len(rows),
            "event_time": events,
            "known_at": [
                event + timedelta(days=12 + 60 * revision)
                for event, (_, revision, _) in zip(events, rows, strict=True)
            ],
            "revision": [revision for _, revision, _ in rows],
            "index": [value for *_, value in rows],
        }
    ).with_columns(pl.col("event_time", "known_at").cast(pl.Datetime("us", "UTC")))


@pytest.fixture
def folder(tmp_path) -> Path:
    store = FeatureStore(Lake(str(tmp_path / "ws" / "lake")))
    store.apply(CPI)
    store.ingest("cpi", frame())
    store.ingest("cpi", frame([(11, 0, 9999.0)]))
    return tmp_path / "ws"


def sluice(folder, *arguments, status=0):
    done = CliRunner().invoke(
        app, ["features", *map(str, arguments), "-w", str(folder)], env={"COLUMNS": "140"}
    )
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    return done


def answer(folder, *arguments, status=0):
    return json.loads(sluice(folder, *arguments, "--json", status=status).stdout)


def test_list_tells_what_each_view_holds(folder):
    text = sluice(folder, "list").stdout
    assert "Consumer prices" in text
    assert "2020-01-01" in text
    assert "1 set aside" in text
    (row,) = answer(folder, "list")
    assert (row["name"], row["rows"], row["entities"], row["quarantined"]) == ("cpi", 10, 1, 1)


def test_show_spells_the_contract_out(folder):
    text = sluice(folder, "show", "cpi").stdout
    for word in ("10 days after the event", "40 days", "from 0 to 500", "1982-84 = 100"):
        assert word in text
    assert answer(folder, "show", "cpi.index")["version_hash"] == CPI.version_hash
    assert "Wilder" in sluice(folder, "show", "rsi").stdout
    shown = answer(folder, "show", "zscore(cpi.index, bars=3)")
    assert shown["sources"] == ["cpi.index"]


def test_a_name_that_is_not_there_is_a_mistake_in_one_sentence(folder):
    assert "declared are: cpi" in sluice(folder, "show", "cip", status=2).stderr
    assert "has no field 'indx'" in sluice(folder, "history", "US", "cpi.indx", status=2).stderr
    lost = sluice(folder, "history", "DE", "cpi.index", status=1).stderr
    assert "the view holds US" in lost
    assert (
        "write it as"
        in sluice(folder, "history", "US", "cpi.index", "--as-of", "May", status=2).stderr
    )


def test_history_shows_first_prints_revisions_and_what_was_known_by_a_day(folder):
    text = sluice(folder, "history", "US", "cpi.index").stdout
    assert "revision 1" in text
    assert "first print, until 2020-05-12" in text
    early = answer(folder, "history", "US", "cpi.index", "--as-of", "2020-05-11")
    assert (early["rows"], early["revised"]) == (4, 0)
    late = answer(folder, "history", "US", "cpi.index", "--as-of", "2020-05-12", "--last", "2")
    assert (late["rows"], late["revised"], len(late["revisions"])) == (5, 1, 2)


def test_check_holds_and_ends_with_one_when_somebody_wrote_past_the_contract(folder):
    assert answer(folder, "check")["holds"] is True
    assert "1 rows wait in the quarantine" in sluice(folder, "check").stdout
    bad = frame([(12, 0, -1.0)]).with_columns(
        pl.lit("tests").alias("source"), pl.lit(2020, pl.Int32).alias("year")
    )
    write_deltalake(str(folder / "lake" / "cpi"), bad, mode="append")
    text = sluice(folder, "check", "cpi", status=1).stdout
    assert "value out of range" in text
    assert "allowed 0.0 to 500.0" in text
    assert answer(folder, "check", status=1)["holds"] is False


def test_check_fresh_finds_what_is_stale(folder):
    assert "is stale: its newest value is of 2020-09-01" in sluice(
        folder, "check", "--fresh", status=1
    ).stdout.replace("\n", " ")


def test_audit_is_clean_over_a_view_and_a_computed_feature(folder):
    reports = answer(folder, "audit")["reports"]
    assert [report["subject"] for report in reports] == ["cpi"]
    assert answer(folder, "audit", "cpi", "zscore(cpi.index, bars=3)")["clean"] is True


def test_audit_names_a_row_that_claims_to_be_known_too_early(folder):
    early = frame([(12, 0, 100.0)]).with_columns(
        pl.col("event_time").alias("known_at"),
        pl.lit("tests").alias("source"),
        pl.lit(2020, pl.Int32).alias("year"),
    )
    write_deltalake(str(folder / "lake" / "cpi"), early, mode="append")
    text = sluice(folder, "audit", "cpi", status=1).stdout
    assert "cpi of US at 2020-12-01" in text


def test_audit_of_a_notebook_names_the_cell(market_lake, tmp_path):
    folder = tmp_path / "ws"
    folder.mkdir()
    (folder / "workspace.json").write_text(json.dumps({"lake_url": market_lake.fresh_url()}))
    peek = (
        "from pipelines.audit import feature\n\n@feature('us_equities')\n"
        "def tomorrow(frame):\n"
        "    return frame.with_columns(x=frame['close'].shift(-20))['x']"
    )
    notebook = write_notebook(
        tmp_path / "n.ipynb",
        code_cell(PARAMETERS, "parameters"),
        code_cell(STUDY, "study"),
        code_cell(peek, "feature"),
    )
    found = answer(folder, "audit", notebook, status=1)
    (leak,) = found["reports"][0]["leaks"]
    assert (leak["feature"], leak["cell"], leak["entity"]) == ("tomorrow", 2, "AAPL")
    assert "n.ipynb cell 3" in leak["text"]


def test_quarantined_rows_are_listed_released_and_dropped(folder):
    (row,) = answer(folder, "quarantine", "cpi")
    batch = row["batch"][:10]
    assert "widen the range" in sluice(folder, "quarantine").stdout
    assert "say why" in sluice(folder, "drop", "cpi", batch, status=1).stderr
    sluice(folder, "release", "cpi", batch, "--why", "checked", "--by", "ada")
    assert answer(folder, "quarantine") == []
    assert answer(folder, "list")[0]["rows"] == 11
    assert (
        "open are: none"
        in sluice(folder, "drop", "cpi", batch, "--why", "x", "--by", "ada", status=1).stderr
    )


def test_tidy_keeps_what_workspace_leases_and_bundles_pin(folder):
    store = FeatureStore(Lake(str(folder / "lake")))
    pinned = store.snapshot()
    (folder / "workspace.json").write_text(
        json.dumps({"snapshot": {"versions": pinned.versions, "hash": pinned.hash}})
    )
    for month in (10, 11, 12):
        store.ingest("cpi", frame([(month, 0, 120.0)]))
    bundled, last = store.snapshot(), store.lake.version("cpi")
    manifest = folder / "bundles" / "b1" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"snapshot": {"versions": bundled.versions, "hash": "x"}}))
    (row,) = answer(folder, "tidy", "--days", "0")
    assert row["pinned"] == [pinned.versions["cpi"], last]
    assert (row["files_before"], row["files_after"], row["deleted"]) == (4, 1, 0)
    store.verify(pinned)
    store.verify(bundled)
    manifest.unlink()
    assert answer(folder, "tidy", "--days", "7")[0]["deleted"] == 0
    assert answer(folder, "tidy", "--days", "0")[0]["deleted"] == 3
    store.verify(pinned)
    assert store.snapshot().hash == bundled.hash
    manifest.write_text("{}")
    assert "does not say which data it pins" in sluice(folder, "tidy", status=1).stderr
