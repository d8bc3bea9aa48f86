"""The online store from the command line: fill it, read it with ages, hold it against the lake."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, write_to_textfile

from featurestore.errors import HistoryMissing, HoldoutSealed
from featurestore.features.expression import sources_of
from featurestore.online import OnlineValues
from featurestore.reader import LakeReader
from featurestore.skew import SkewReport, replay, served_values
from featurestore.skew_metrics import Alert, SkewMetrics, firing, load_rules, prometheus_rules
from featurestore.times import MICROSECOND, instant
from runtime.clock import WallClock
from service.console import OK, REFUSED, Output
from service.databases import open_runtime
from service.faults import NotFound, QueryInvalid
from service.features.common import open_reader, open_store
from service.features.stopping import stop_readers
from service.flows.online import Brought, Wanted, bring_online, wanted_by
from service.flows.online import open_store as open_online
from service.settings import Settings, has_records
from service.trading.crew import live_crew
from service.trading.engines import market_reader

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 20  # differences a person is shown; --json has all of them


def materialize(
    settings: Settings,
    output: Output,
    features: Sequence[str],
    symbols: Sequence[str],
    *,
    windows: Sequence[str],
    at: str | None,
) -> None:
    """Bring features online; nothing named means what the active bundle reads."""
    now, kept = moment(at), lengths(windows)
    wanted: tuple[Wanted, ...]
    if features:
        reader = open_reader(open_store(settings))
        names = tuple(symbols) or _entities(reader, features)
        wanted = (Wanted(features=tuple(features), symbols=names, windows=kept),)
    elif symbols or windows:
        raise QueryInvalid("--symbol and --window go with features", "name the features too")
    else:
        bundles = live_crew(settings).bundles
        reader, wanted = market_reader(settings, *bundles, newest=True), wanted_by(bundles)
    engine = open_runtime(settings) if has_records(settings) else None
    try:
        brought = bring_online(settings, engine, reader, wanted, at=now)
    except (HistoryMissing, HoldoutSealed) as error:
        if at is not None:
            raise
        raise type(error)(
            f"{error}. Asked about was this very moment; --at names another instant"
        ) from error
    answer: dict[str, Any] = {
        "at": now.isoformat(),
        "features": list(dict.fromkeys(name for each in wanted for name in each.features)),
        "symbols": list(dict.fromkeys(name for each in wanted for name in each.symbols)),
        "windows": {name: bars for each in wanted for name, bars in each.windows.items()},
        **asdict(brought.applied),
        "announced": brought.announced,
        "unannounced": brought.unannounced,
    }
    output.answer(answer, lambda console: _show_brought(console, answer, brought))


def _entities(reader: LakeReader, features: Sequence[str]) -> tuple[str, ...]:
    """Return the entities that all features' own views hold."""
    held = [
        set(reader.symbols(source.view))
        for feature in features
        for source in sources_of(feature)
        if source.entity is None
    ]
    common = sorted(set.intersection(*held)) if held else []
    if not common:
        raise NotFound("no entity is in every view of these features", "name some with --symbol")
    return tuple(common)


def lengths(windows: Sequence[str]) -> dict[str, int]:
    """Read FEATURE=BARS; QueryInvalid says what is wrong."""
    found = {}
    for each in windows:
        feature, _, bars = each.rpartition("=")
        if not feature or not bars.isdigit() or not int(bars):
            raise QueryInvalid(f"--window {each!r}", "write FEATURE=BARS, e.g. prices.close=252")
        found[feature] = int(bars)
    return found


def moment(text: str | None) -> datetime:
    """Read an instant, UTC; now if none is given. QueryInvalid if it is none."""
    if text is None:
        return WallClock().now()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise QueryInvalid(f"--at {text!r} is no instant", "write 2022-12-28T21:30Z") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _show_brought(console: "Console", answer: Mapping[str, Any], brought: Brought) -> None:
    console.print(
        f"{len(answer['features'])} features of {len(answer['symbols'])} symbols: "
        f"{answer['written']:,} values written, {answer['kept']:,} were as new or newer"
    )
    for feature in answer["features"]:
        bars = answer["windows"].get(feature)
        whole = f", the last {bars} bars too" if bars else ""
        console.print(f"  {feature}{whole}", markup=False)
    if brought.unannounced:
        console.print(
            f"not announced, the next time will: {brought.unannounced}",
            style="yellow",
            markup=False,
        )
    else:
        console.print(f"{brought.announced:,} new observations announced on features.pit")


def show(
    settings: Settings,
    output: Output,
    features: Sequence[str],
    symbols: Sequence[str],
    *,
    at: str | None,
    stale: bool,
) -> int:
    """Print what is online with its age; ends with 1, naming it, if a value is too old."""
    answer = _served(settings, features, symbols, moment(at), stale=stale)
    rows = _rows(answer)
    output.answer(
        {"at": answer.now.isoformat(), "stale": bool(answer.stale.any()), "values": rows},
        lambda console: _show_values(console, rows),
    )
    return OK


def _served(
    settings: Settings,
    features: Sequence[str],
    symbols: Sequence[str],
    now: datetime,
    *,
    stale: bool,
) -> OnlineValues:
    store = open_online(settings)
    asked, names = tuple(features) or store.features(), tuple(symbols) or store.symbols()
    if not asked or not names:
        raise NotFound("nothing is online", "fill it with sluice features materialize")
    return store.get_online_features(asked, names, now=now, stale="allow" if stale else "refuse")


def _rows(answer: OnlineValues) -> list[dict[str, Any]]:
    values, ages, stale = answer.values, answer.ages, answer.stale
    return [
        {
            "symbol": symbol,
            "feature": feature,
            "value": float(values[i, j]),
            "event_time": instant(int(answer.event_times[i, j])).isoformat(),
            "known_at": instant(int(answer.known_at[i, j])).isoformat(),
            "age_seconds": int(ages[i, j]) / 1e6,
            "allowed_seconds": int(answer.freshness[j]) / 1e6,
            "stale": bool(stale[i, j]),
            "version_hash": answer.versions[j],
        }
        for i, symbol in enumerate(answer.symbols)
        for j, feature in enumerate(answer.features)
    ]


def _show_values(console: "Console", rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("symbol", "feature"):
        table.add_column(name)
    table.add_column("value", justify="right")
    for name in ("about", "known at, UTC", "age", ""):
        table.add_column(name)
    for row in rows:
        table.add_row(
            escape(row["symbol"]),
            escape(row["feature"]),
            f"{row['value']:,.6g}",
            row["event_time"][:10],
            row["known_at"][:16].replace("T", " "),
            str(round(row["age_seconds"]) * 1_000_000 * MICROSECOND),
            "[red]stale[/red]" if row["stale"] else "",
        )
    console.print(table)


def skew(
    settings: Settings,
    output: Output,
    features: Sequence[str],
    symbols: Sequence[str],
    *,
    at: str | None,
    textfile: Path | None = None,
    stop: bool = False,
) -> int:
    """Print what is online and the lake does not confirm, with causes; returns the exit status.

    With `textfile` the figures are left there for Prometheus' node exporter, in one step; with
    `stop` whoever trades on what is in doubt gets a drift stop.
    """
    served = _served(settings, features, symbols, moment(at), stale=True)
    report = replay(served_values(served), _truth(settings, served.features))
    metrics = SkewMetrics()
    metrics.observe(report)
    metrics.observe_ages(served)
    alerts = firing(metrics, load_rules())
    if textfile is not None:
        _leave(metrics, textfile)
    stopped = stop_readers(settings, report, alerts) if stop else ()
    counts = report.counts()
    answer = {
        "at": served.now.isoformat(),
        "confirmed": not report.differences,
        "features": [
            {
                "feature": feature,
                "compared": compared,
                "differ": sum(each.served.feature == feature for each in report.differences),
                "causes": {cause: n for (name, cause), n in counts.items() if name == feature},
                "psi": None if feature not in report.drifts else report.drifts[feature].psi,
                "ks": None if feature not in report.drifts else report.drifts[feature].ks,
            }
            for feature, compared in report.compared.items()
        ],
        "differences": [
            {
                "feature": each.served.feature,
                "symbol": each.served.symbol,
                "served": each.served.value,
                "truth": each.truth,
                "cause": each.cause,
                "detail": each.detail,
            }
            for each in report.differences
        ],
        "alerts": [
            {"rule": one.rule.name, "value": one.value, **one.labels, "summary": one.rule.summary}
            for one in alerts
        ],
        "stopped": stopped,
    }
    output.answer(answer, lambda console: _show_skew(console, report, alerts, stopped))
    return REFUSED if report.differences or stopped else OK


def _leave(metrics: SkewMetrics, path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise QueryInvalid(
            f"--textfile {path} cannot be written: {error.strerror}", "name a folder that is there"
        ) from error


def rules(output: Output) -> None:
    """Print the thresholds as Prometheus reads them."""
    group = prometheus_rules(load_rules())

    def show(console: "Console") -> None:
        for rule in load_rules():
            held = f", for {rule.for_minutes} min" if rule.for_minutes else ""
            console.print(f"{rule.name}: {rule.expression}{held} ({rule.severity})", markup=False)
            console.print(f"  {rule.summary}", markup=False)

    output.answer(group, show)


def _truth(settings: Settings, features: Sequence[str]) -> LakeReader:
    """Open the lake for features: as it trades, if the active bundles read them all."""
    try:
        bundles = live_crew(settings).bundles
    except NotFound:
        return open_reader(open_store(settings))
    if set(features) <= {name for each in wanted_by(bundles) for name in each.features}:
        return market_reader(settings, *bundles, newest=True)
    return open_reader(open_store(settings))


def _show_skew(
    console: "Console", report: SkewReport, alerts: Sequence[Alert], stopped: Sequence[str]
) -> None:
    from rich.markup import escape

    counts = report.counts()
    for feature, compared in report.compared.items():
        causes = [f"{n:,} {cause}" for (name, cause), n in counts.items() if name == feature]
        sign = "[red]differs[/red]" if causes else "[green]confirmed[/green]"
        said = ": " + ", ".join(causes) if causes else ""
        console.print(f"{sign} [bold]{escape(feature)}[/bold]  {compared:,} values{said}")
    for each in report.differences[:SHOWN]:
        console.print(f"  {each.cause}: {each.detail}", style="red", markup=False)
    if len(report.differences) > SHOWN:
        console.print(f"  ... and {len(report.differences) - SHOWN:,} more, see --json")
    for alert in alerts:
        where = ", ".join(f"{name} {value}" for name, value in alert.labels.items())
        said = f"{alert.rule.name} ({where}: {alert.value:.3g}): {alert.rule.summary}"
        console.print(said, style="yellow", markup=False)
    for scope in stopped:
        console.print(f"{scope} is on; two persons release it with sluice kill off", style="red")
