"""`sluice explain`: how sure a decision was, and what each input did to it, decided again."""

import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from service.commands.options import Json, Workspace, finish, settings_of
from service.console import OK, Output, reported

if TYPE_CHECKING:
    from rich.console import Console

    from runtime.bundles.contract import DeclaredConfidence
    from runtime.bundles.explain import Ablation
    from runtime.domain import Signal
    from service.settings import Settings

LIVE = "Live"
SHOWN = 3  # symbols named per input

app = typer.Typer()


class Sure(msgspec.Struct, frozen=True, kw_only=True):
    """How sure a decision said it was of each symbol."""

    of: str  # model whose calibrated confidence it is
    means: str  # which event happens as often as it says
    abstains_below: float | None  # a less confident symbol has no weight
    values: tuple[float, ...]  # (n,), 0 to 1
    abstained: tuple[str, ...]  # symbols below it


class ExplainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the inputs of one decision did to it."""

    decision_id: str
    tick: str
    bundle: str
    symbols: tuple[str, ...]  # row order of every score and weight
    inputs: tuple["Ablation", ...]  # the one that moved most first
    confidence: Sure | None = None  # None if its bundle does not say


@app.command(rich_help_panel=LIVE, epilog="Example: [bold]sluice explain 2020-07-31[/bold]")
def explain(
    identifier: Annotated[
        str,
        typer.Argument(
            metavar="DECISION", help="Decision or order id, or its beginning; or a day."
        ),
    ],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Say what each input did to a decision: the same graph decides again with it neutral."""
    output = Output(as_json=json)
    with reported(output):
        status = show_ablations(settings_of(workspace), output, identifier)
    finish(status)


def show_ablations(settings: "Settings", output: Output, identifier: str) -> int:
    """Decide a journalled decision again, whole and without each input; returns the exit status."""
    from runtime.bundles.bundle import load_bundle
    from runtime.bundles.explain import ablate
    from runtime.bundles.signing import load_trusted
    from runtime.errors import JournalBroken
    from service.commands.why import identified
    from service.faults import NotFound
    from service.settings import require_records
    from service.trading.proof import prove_here
    from service.wiring import open_live

    require_records(settings)
    live = open_live(settings, monotonic=time.monotonic, prove=prove_here)
    found = live.origins.of(identified(live, identifier.strip().lower())).decision.decision_id
    kept = live.accounts.holding(found).journal.decision(found)
    if kept is None or not kept.record.inputs:
        raise NotFound(
            f"decision {found} saw nothing", "it was refused; sluice why says the reason"
        )
    record = kept.record
    bundle = load_bundle(settings.bundles / record.bundle, load_trusted(settings.trusted_keys))
    again = bundle.session.run(record.inputs)
    said = tuple(signal.confidence for signal in record.signals)
    sure = said if again.confidence is None else tuple(again.confidence.tolist())
    if (tuple(again.weight.tolist()), sure) != (record.weights, said):
        raise JournalBroken(f"bundle {record.bundle} no longer decides what decision {found} says")
    answer = ExplainAnswer(
        decision_id=found,
        tick=record.tick,
        bundle=record.bundle,
        symbols=record.symbols,
        inputs=ablate(bundle.session, bundle.inputs, record.inputs),
        confidence=_sure(bundle.manifest.confidence, record.signals),
    )
    output.answer(answer, lambda console: _show(console, answer))
    return OK


def _sure(
    declared: "DeclaredConfidence | msgspec.UnsetType", signals: tuple["Signal", ...]
) -> Sure | None:
    """Return what a decision said of its confidence; None if its bundle declares none."""
    if declared is msgspec.UNSET:
        return None
    floor = declared.abstains_below
    return Sure(
        of=declared.of,
        means=declared.means,
        abstains_below=floor,
        values=tuple(one.confidence for one in signals),
        abstained=tuple(
            one.symbol for one in signals if floor is not None and one.confidence < floor
        ),
    )


def _show(console: "Console", answer: ExplainAnswer) -> None:
    from rich.table import Table

    title = f"decision {answer.decision_id} of {answer.tick}, decided again without each input"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("input")
    table.add_column("replaced by")
    table.add_column("moved", justify="right")
    table.add_column("weights it gave and took most")
    for one in answer.inputs:
        most = sorted(zip(one.weight, answer.symbols, strict=False), key=lambda pair: -abs(pair[0]))
        words = ", ".join(f"{symbol} {weight:+.2%}" for weight, symbol in most[:SHOWN] if weight)
        table.add_row(one.input, one.neutral, f"{one.moved:.2%}", one.refused or words or "none")
    console.print(table)
    if answer.confidence is not None:
        _show_confidence(console, answer.confidence, answer.symbols)


def _show_confidence(console: "Console", sure: Sure, symbols: tuple[str, ...]) -> None:
    most = sorted(zip(sure.values, symbols, strict=True), reverse=True)
    words = ", ".join(f"{symbol} {value:.1%}" for value, symbol in most[:SHOWN])
    console.print(f"\nconfidence of {sure.of}: {words}; the least is {most[-1][0]:.1%}")
    console.print(f"it is {sure.means}", style="dim")
    if sure.abstains_below is not None:
        names = ", ".join(sure.abstained) or "none"
        console.print(f"below {sure.abstains_below:.1%} a symbol has no weight: {names}")
