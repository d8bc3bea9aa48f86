"""What a trial would have earned with real fills: latency, spread, impact, halts, stops, borrow."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from featurestore.calendars import load_calendar
from pipelines.backtest import Backtest
from pipelines.door import answered_for
from pipelines.evaluate import Trial
from pipelines.models.counting import LedgerCounter
from pipelines.performance import SESSIONS_PER_YEAR, sharpe
from pipelines.pictures import Table
from pipelines.realism import Market, RealisticRun, realistic
from pipelines.workspace import Workspace, open_workspace
from runtime.brokers.states import LakeStates
from runtime.brokers.terms import load_venues
from runtime.bundles.inputs import Array
from runtime.execution.fills import Style
from runtime.execution.latency import load_latency
from runtime.execution.stops import Stops
from runtime.market.recorded import HaltMessage, RecordedHalts
from runtime.market.rules import market_rules
from runtime.market.states import Published

LATENCY = "latency.json"  # what `sluice latency --store` leaves in a workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A trial's returns with every order filled by the model, beside its plain ones."""

    plain: Backtest
    run: RealisticRun

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def table(self) -> Table:
        """Tabulate both: what the fills cost a year, and what they left undone."""
        rows = [
            (name, *(shown(series) for series in (self.plain.net, self.run.net)))
            for name, shown in (
                ("Return a year", lambda net: f"{_yearly(net):.2%}"),
                ("Sharpe ratio in excess", self._excess),
            )
        ]
        slippage = [one.slippage for one in self.run.trades if one.filled]
        cost = 1e4 * float(np.mean(slippage)) if slippage else 0.0
        rows += [
            ("Orders and parts of orders", "", f"{len(self.run.trades):,}"),
            ("Mean cost of one, bp", "", f"{cost:.2f}"),
            ("Notional that did not fill", "0.0%", f"{self.run.unfilled:.1%}"),
            ("Positions that a stop let go", "0", f"{self.run.stopped}"),
        ]
        return Table(("", "Plain backtest", "With real fills"), rows)

    def _excess(self, net: Array) -> str:
        return f"{sharpe(net - self.plain.benchmark):.2f}"


def fills(
    trial: Trial,
    *,
    stops: Stops | None = None,
    halts: Iterable[HaltMessage] = (),
    style: Style = Style.MARKET,
    venues: Path | None = None,
    workspace: Workspace | None = None,
) -> Filled:
    """Trade a recorded trial's decisions again, filled as the paper venues fill.

    The decisions are those that were counted, and without stops no new configuration is tried, so
    nothing is recorded. Stops are another rule: a run with them is a try of the study and counts.

    Args:
        trial: as `submit` handed it over.
        stops: let positions go between decisions; they see announced events only.
        halts: recorded messages; a halted name does not trade until it is resumed.
        style: how orders meet the market.
        venues: file of venues; None = the packaged ones.
        workspace: None = the one this kernel stands in; its measured latencies are used.

    Raises:
        VenuesInvalid: the file of venues or the measurement cannot be used.
    """
    place, study = workspace or open_workspace(), trial.definition.study
    measured = load_latency(place.path / LATENCY)
    market = load_venues(venues, measured=() if measured is None else measured.milliseconds)
    states = LakeStates(
        reader=place.research_reader(study),
        price=study.price_feature,
        window=market.volatility_window,
        volume=market.volume,
        published=_published(trial.backtest.symbols, tuple(halts)),
    )
    trading = Market(
        venues=market.venues,
        states=states.at,
        calendar=load_calendar(study.calendar),
        style=style,
        stops=stops,
    )
    with _counted(trial, stops, place), answered_for():
        run = realistic(trial.backtest, study.sizing, trading)
    return Filled(plain=trial.backtest, run=run)


@contextmanager
def _counted(trial: Trial, stops: Stops | None, place: Workspace) -> Iterator[None]:
    """Write a run with stops to the ledger before it starts, and again when it has ended."""
    if stops is None:
        yield
        return
    definition = trial.definition
    counter = LedgerCounter(
        ledger=place.ledger(),
        study=definition.study.name,
        code_hash=definition.code_hash,
        shape_hash=definition.shape_hash,
        snapshot_hash=trial.snapshot_hash,
        notebook=definition.notebook or place.notebook,
        run=place.run,
    )
    events = hashlib.sha256(repr(sorted(map(repr, stops.events))).encode()).hexdigest()[:12]
    rule = f"{stops.multiple:g} deviations, {stops.horizon} before events {events}"
    key = counter.open({**definition.strategy.parameters, "stops": rule})
    yield
    counter.close(key, f"trial {trial.key[:12]} traded again with stops; a look, no candidate")


def _published(
    symbols: tuple[str, ...], halts: tuple[HaltMessage, ...]
) -> Callable[[datetime], Mapping[str, Published]] | None:
    """Return what the halts say at an instant; older ones are read by the first known codes."""
    if not halts:
        return None
    return RecordedHalts(market_rules().halt[-1], symbols, halts).published


def _yearly(net: Array) -> float:
    return float(np.prod(1.0 + net) ** (SESSIONS_PER_YEAR / net.size) - 1.0)
