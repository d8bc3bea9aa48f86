"""`sluice gap`: what trades cost in the journal beside what a backtest foretold, one by one.

1. the bundle's own decisions are made again over the account's days, from the lake
2. they are filled as the realistic backtest fills: same terms, same states as the venues
3. each trade's slippage is compared with the journal's, fees included
"""

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from featurestore.calendars import load_calendar
from featurestore.features.expression import bars_of
from pipelines.backtest import Backtest, backtest
from pipelines.errors import EvidenceMissing
from pipelines.gap import SHARE, Trade, assumed, reality_gap
from pipelines.journal_trades import trades_of
from pipelines.realism import Market, realistic
from pipelines.study import Period, Study
from runtime.brokers.terms import PaperMarket
from runtime.bundles.bundle import LoadedBundle
from runtime.bundles.contract import Manifest
from runtime.bundles.inputs import CurrentWeights, Window
from runtime.execution.fills import Latency
from runtime.journal.store import Journal
from service.books.accounts import LIVE, replay_account
from service.console import OK, REFUSED, Output
from service.databases import open_runtime
from service.records import open_journal
from service.research.card import find_bundle
from service.settings import Settings, require_records
from service.trading.engines import market_reader
from service.trading.paper import paper_market, states_of, traded_by_others

if TYPE_CHECKING:
    from rich.console import Console


class GapAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The gap between backtest and journal."""

    bundle: str  # hash, hex
    account: str
    trades: int  # on both sides
    unmatched: int  # on one side only
    within: float  # share of trades whose gap is within 10 % of the slippage seen
    holds: bool  # at least 80 % are
    within_without_luck: float  # the same, had no order's latency been foretold
    within_flat: float  # the same for the plain backtest's one cost rate
    flat_bp: float  # that rate, basis points
    foretold_bp: float  # mean slippage foretold, fees included, basis points
    seen_bp: float  # mean slippage seen, fees included, basis points
    terms: str  # hash of the venues' terms the foretelling used, hex
    latency: str  # "measured" or "range"
    other_terms: tuple[str, ...]  # venues that traded by other terms than these, if only for a time
    table: list[list[str]]  # headings first


def show_gap(settings: Settings, output: Output, name: str, *, live: bool) -> int:
    """Report the gap of a bundle's replay or of the live account; 1 if the aim is missed."""
    require_records(settings)
    bundle = find_bundle(settings, name)
    account = LIVE if live else replay_account(bundle.hash)
    answer = _measured(settings, bundle, account)
    output.answer(answer, lambda console: _show(console, answer))
    return OK if answer.holds else REFUSED


def _measured(settings: Settings, bundle: LoadedBundle, account: str) -> GapAnswer:
    journal = open_journal(settings, open_runtime(settings), account)
    seen = trades_of(journal.fills(), journal.orders(), journal.sessions())
    if not seen:
        raise EvidenceMissing(
            f"account {account} has no fill on a closed session; run `sluice replay` first"
        )
    market = paper_market(settings)
    foretold, without_luck = _foretold(settings, bundle, journal, market)
    rate = bundle.manifest.sizing.cost_rate
    gap = reality_gap(foretold, seen)
    table = gap.table()
    matched = max(len(gap.pairs), 1)
    return GapAnswer(
        bundle=bundle.hash,
        account=account,
        trades=len(gap.pairs),
        unmatched=len(gap.only_foretold) + len(gap.only_seen),
        within=gap.within,
        holds=gap.holds,
        within_without_luck=reality_gap(without_luck, seen).within,
        within_flat=reality_gap(assumed(seen, rate), seen).within,
        flat_bp=1e4 * rate,
        foretold_bp=1e4 * sum(pair.foretold.slippage for pair in gap.pairs) / matched,
        seen_bp=1e4 * sum(pair.seen.slippage for pair in gap.pairs) / matched,
        terms=market.hash,
        latency="measured" if market.uses_measured_latency else "range",
        other_terms=traded_by_others(settings, market, account),
        table=[list(table.headings), *(list(row) for row in table.rows)],
    )


def _foretold(
    settings: Settings, bundle: LoadedBundle, journal: Journal, market: PaperMarket
) -> tuple[tuple[Trade, ...], tuple[Trade, ...]]:
    """Return the trades a realistic backtest makes over the account's days, with luck, without."""
    manifest = bundle.manifest
    days = [point.day for point in journal.equity_curve()]
    reader = market_reader(settings, bundle, newest=journal.account == LIVE)
    made: Backtest = backtest(
        bundle.session,
        bundle.inputs,
        reader,
        _study(manifest, Period(start=days[0], end=days[-1])),
        Period(start=days[0], end=days[-1]),
    )
    states = states_of(market, reader, manifest.price_feature)
    calendar = load_calendar(manifest.calendar)

    def trades(of: PaperMarket) -> tuple[Trade, ...]:
        trading = Market(venues=of.venues, states=states.at, calendar=calendar)
        return realistic(made, manifest.sizing, trading).trades

    return trades(market), trades(_without_luck(market))


def _without_luck(market: PaperMarket) -> PaperMarket:
    """Return the venues as they are expected to fill: no time passes, so the mid has not moved."""
    still = Latency(low=0.0, high=0.0)
    return replace(
        market,
        venues=tuple(
            one if one.model is None else replace(one, model=replace(one.model, latency=still))
            for one in market.venues
        ),
    )


def _study(manifest: Manifest, days: Period) -> Study:
    """Return what a backtest must know of a bundle, as a study over the days it traded."""
    declared = (one.source for one in manifest.inputs if not isinstance(one.source, CurrentWeights))
    bars = [bars_of(one.feature, one.length if isinstance(one, Window) else 1) for one in declared]
    start, end = (date.fromisoformat(day) for day in manifest.research_window)
    return Study(
        name=manifest.study,
        question="What did the trades cost?",
        hypothesis="What the backtest foretold.",
        source="the bundle's manifest",
        universe=manifest.universe,
        research=Period(start=start, end=end),
        holdout=days,
        schedule=manifest.schedule,
        search_space={},
        owner="",
        warm_up=max(bars, default=1),
        costs=manifest.sizing.cost_rate,
        invested=manifest.sizing.invested,
        price_feature=manifest.price_feature,
        calendar=manifest.calendar,
    )


def _show(console: "Console", answer: GapAnswer) -> None:
    from rich.table import Table

    word = "[green]holds[/green]" if answer.holds else "[red]is missed[/red]"
    console.print(
        f"{answer.account}: {answer.trades} trades, {answer.unmatched} on one side only; "
        f"{answer.seen_bp:.2f} bp seen, {answer.foretold_bp:.2f} foretold"
    )
    console.print(
        f"{answer.within:.0%} within 10 %, the aim of {SHARE:.0%} {word}; "
        f"{answer.within_without_luck:.0%} had no latency been foretold, "
        f"{answer.within_flat:.0%} by {answer.flat_bp:g} bp flat"
    )
    console.print(f"[dim]terms {answer.terms[:12]}, latency: {answer.latency}[/dim]")
    if answer.other_terms:
        console.print(
            f"[yellow]{', '.join(answer.other_terms)} traded by other terms than these[/yellow], "
            "at least for a time; the gap holds that change too"
        )
    shown = Table(*answer.table[0], box=None, header_style="dim", pad_edge=False)
    for row in answer.table[1:]:
        shown.add_row(*row)
    console.print(shown)
