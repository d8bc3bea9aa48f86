"""Bad market data met by a study: one clear message, the trial counted, the ledger whole."""

import polars as pl
import pytest

from featurestore.errors import FeatureStoreError
from featurestore.lake import Lake
from featurestore.sources.embedded import EMBEDDED_VIEWS, embedded_frame
from featurestore.store import FeatureStore
from pipelines.definition import load_definition
from pipelines.evaluate import evaluate_trial
from pipelines.workspace import Workspace
from tests.fakes.notebooks import STRATEGY, tiny_notebook

EQUITIES = next(view for view in EMBEDDED_VIEWS if view.name == "us_equities")
HOLE = pl.date(2001, 5, 16)


def _workspace(folder, change) -> Workspace:
    store = FeatureStore(Lake(str(folder / "lake")))
    store.apply(EQUITIES)
    rows = embedded_frame(EQUITIES).filter(pl.col("event_time").dt.year().is_between(2000, 2003))
    hole = (pl.col("entity") == "KO") & (pl.col("event_time").dt.date() == HOLE)
    store.ingest("us_equities", change(rows, hole))
    return Workspace(folder)


def _nan(rows: pl.DataFrame, hole: pl.Expr) -> pl.DataFrame:
    return rows.with_columns(
        pl.when(hole).then(float("nan")).otherwise(pl.col("close")).alias("close")
    )


def _gone(rows: pl.DataFrame, hole: pl.Expr) -> pl.DataFrame:
    return rows.filter(~hole)


@pytest.mark.parametrize("change", [_nan, _gone])
def test_a_price_that_is_not_there_ends_a_trial_and_names_itself(tmp_path, change):
    workspace = _workspace(tmp_path / "workspace", change)
    definition = load_definition(tiny_notebook(tmp_path / "tiny.ipynb"), {})
    with pytest.raises(FeatureStoreError, match=r"KO") as told:
        evaluate_trial(definition, workspace)
    assert "2001-05-16" in str(told.value)
    ledger = workspace.ledger()
    [trial] = ledger.trials("tiny")
    assert (trial.status, trial.reason) == ("failed", str(told.value))
    ledger.verify()


def test_a_nan_price_is_kept_aside_with_its_reason(tmp_path):
    workspace = _workspace(tmp_path / "workspace", _nan)
    aside = workspace.store().quarantine("us_equities")
    assert aside.height == 1
    assert "close" in aside["field"][0]


def test_a_column_that_no_view_has_ends_a_trial_and_lists_what_there_is(tmp_path):
    workspace = _workspace(tmp_path / "workspace", lambda rows, _: rows)
    strategy = STRATEGY.replace("us_equities.close", "us_equities.volume")
    definition = load_definition(tiny_notebook(tmp_path / "tiny.ipynb", strategy=strategy), {})
    with pytest.raises(FeatureStoreError, match=r"volume.*close"):
        evaluate_trial(definition, workspace)
    assert workspace.ledger().trials("tiny")[0].status == "failed"
    workspace.ledger().verify()
