"""`sluice gap`: what trades cost in the journal beside what the backtest assumed, one by one."""

from typing import TYPE_CHECKING

import msgspec

from pipelines.errors import EvidenceMissing
from pipelines.journal_trades import trades_of
from pipelines.realism import SHARE, assumed, reality_gap
from runtime.bundle import LoadedBundle
from runtime.database import open_database
from service.accounts import LIVE, replay_account
from service.console import OK, REFUSED, Output
from service.records import open_journal
from service.research.card import find_bundle
from service.settings import Settings, require_records

if TYPE_CHECKING:
    from rich.console import Console


class GapAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The gap between backtest and journal."""

    bundle: str  # hash, hex
    account: str
    trades: int
    unmatched: int  # on one side only
    within: float  # share of trades whose gap is within 10 % of the slippage seen
    holds: bool  # at least 80 % are
    assumed_bp: float  # what the backtest charged, basis points
    seen_bp: float  # mean slippage seen, fees included, basis points
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
    journal = open_journal(settings, open_database(settings.database_url), account)
    seen = trades_of(journal.fills(), journal.orders(), journal.sessions())
    if not seen:
        raise EvidenceMissing(
            f"account {account} has no fill on a closed session; run `sluice replay` first"
        )
    rate = bundle.manifest.sizing.cost_rate
    gap = reality_gap(assumed(seen, rate), seen)
    table = gap.table()
    return GapAnswer(
        bundle=bundle.hash,
        account=account,
        trades=len(gap.pairs),
        unmatched=len(gap.only_foretold) + len(gap.only_seen),
        within=gap.within,
        holds=gap.holds,
        assumed_bp=1e4 * rate,
        seen_bp=1e4 * sum(pair.seen.slippage for pair in gap.pairs) / len(gap.pairs),
        table=[list(table.headings), *(list(row) for row in table.rows)],
    )


def _show(console: "Console", answer: GapAnswer) -> None:
    from rich.table import Table

    word = "[green]holds[/green]" if answer.holds else "[red]is missed[/red]"
    console.print(
        f"{answer.account}: {answer.trades} trades, {answer.seen_bp:.2f} bp seen, "
        f"{answer.assumed_bp:g} assumed; {answer.within:.0%} within 10 %, "
        f"the aim of {SHARE:.0%} {word}"
    )
    shown = Table(*answer.table[0], box=None, header_style="dim", pad_edge=False)
    for row in answer.table[1:]:
        shown.add_row(*row)
    console.print(shown)
