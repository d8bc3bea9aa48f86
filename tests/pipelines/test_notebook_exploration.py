"""The first notebook of a new analyst: every cell runs, shows something, and says what is true."""

import ast
import linecache
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest

from pipelines import explore
from pipelines.explore import Told
from pipelines.pictures import Picture, Table
from pipelines.runs.parameters import declared_parameters, read_notebook
from pipelines.workspace import Workspace

PATH = (
    Path(__file__).resolve().parents[2] / "notebooks" / "examples" / "01_feature_exploration.ipynb"
)
HOLDOUT = datetime(2017, 1, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, market_lake):
    place = Workspace(
        tmp_path_factory.mktemp("exploration"),
        lake_url=market_lake.fresh_url(),
        snapshot=market_lake.snapshot,
    )
    place.store().seal("some_study", HOLDOUT)
    place.save()
    return place


@pytest.fixture(scope="module")
def shown(workspace):
    """What each cell's last expression gave, on a lake whose holdout is sealed."""
    found, space = {}, {"__name__": "__notebook__"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_WORKSPACE", str(workspace.path))
        for cell in nbformat.read(PATH, as_version=4).cells:
            if cell.cell_type != "code":
                continue
            where = f"exploration cell {cell['id']}"
            source = cell.source + "\n"
            linecache.cache[where] = (len(source), None, source.splitlines(keepends=True), where)
            body = ast.parse(source, where).body
            last = body.pop() if isinstance(body[-1], ast.Expr) else None
            exec(compile(ast.Module(body, []), where, "exec"), space)
            if last is not None:
                code = compile(ast.Expression(last.value), where, "eval")
                found[cell["id"]] = eval(code, space)
    return found


def test_the_file_is_valid_clean_and_tells_its_cells_by_name():
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    ids = [cell["id"] for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(cell_id.replace("-", "").isalpha() for cell_id in ids)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    declared = declared_parameters(read_notebook(PATH), PATH.name)
    assert [each.name for each in declared] == ["symbol", "lookback", "oil_bars"]
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "**synthetic**" in prose
    assert "## Sources" in prose


def test_every_cell_runs_and_shows_a_picture_a_table_or_a_verdict(shown):
    kinds = {
        Picture: {"one-name", "universe", "ranges", "oil", "vintages", "surprise"},
        Table: {"lake", "library", "passport", "bits", "synthetic", "split"},
        Told: {"contract", "first-read", "membership", "hindsight", "leak", "honest"},
    }
    for kind, cells in kinds.items():
        assert {name for name, value in shown.items() if isinstance(value, kind)} == cells
    for value in shown.values():
        if isinstance(value, Picture):
            assert value.png.startswith(b"\x89PNG")
        elif isinstance(value, Told):
            assert "<table>" in value._repr_html_()
            assert "<p>" in value._repr_html_()


def test_nothing_of_the_holdout_is_shown(shown):
    for row in shown["lake"].rows:
        assert row[4].endswith(("2016-12", "2016-11"))


def test_looking_around_leaves_leases_that_name_no_study(workspace, shown):
    leases = [lease for _, lease in workspace.ledger().reads.leases()]
    assert {lease.study for lease in leases} == {""}
    assert {"us_equities", "wti", "vix", "us_index_bars"} <= {lease.view for lease in leases}


def test_the_answers_say_what_is_point_in_time_and_what_is_not(shown):
    assert shown["first-read"].words.startswith("NOT point in time: universe us_large_caps")
    assert shown["membership"].words.startswith("Point in time")
    assert [row[0] for row in shown["membership"].table.rows[-3:]] == ["AAPL", "KO", "XOM"]
    assert shown["hindsight"].words.startswith("NOT point in time: universe made_up_three")


def test_windows_agree_to_the_bit_where_a_rolling_function_does_not(shown):
    (_, ours), (_, theirs) = shown["bits"].rows
    assert ours == "0"
    assert int(theirs) > 0


def test_the_oil_companies_have_the_highest_exposure_to_oil(shown):
    assert "RRC first" in shown["oil"].words


def test_a_split_leaves_the_day_before_as_it_was(shown):
    rows = {row[0]: [value for value in row[1:] if value] for row in shown["split"].rows}
    assert rows["2014-06-03"] == ["100.00", "102.00"]
    assert rows["2014-06-04"] == ["50.00", "51.00", "51.50"]


def test_the_audit_names_the_leak_and_clears_the_honest_feature(shown):
    leak = shown["leak"]
    assert leak.table.rows[0][:2] == ("scaled", "VIX")
    assert leak.words.startswith("Remedy: build it from rows known at its own instant")
    assert "clean" in shown["honest"].words


def test_the_passport_shows_what_a_manifest_pins(shown):
    rows = dict(shown["passport"].rows)
    assert rows["Name"] == "beta(us_equities.close, us_index.close[SP500], bars=252, lag=0)"
    assert rows["Required history"] == "253 bars"


def test_a_view_without_rows_is_listed_as_such(tmp_path):
    from featurestore.lake import Lake
    from featurestore.sources.embedded import US_EQUITIES
    from featurestore.store import FeatureStore

    store = FeatureStore(Lake(str(tmp_path / "lake")))
    store.apply(US_EQUITIES)
    table = explore.views(store.reader(store.snapshot()))
    assert table.rows[0][:5] == ("us_equities", "close", "0", "0", "no rows")
