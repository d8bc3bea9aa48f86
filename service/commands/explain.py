"""`sluice explain`: how sure a decision was, and what each input did to it, decided again."""

import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from service.commands.options import Json, Workspace, finish, settings_of
from service.console import OK, Output, reported

if TYPE_CHECKING:
    from rich.console import Console

    from runtime.bundles.bundle import LoadedBundle
    from runtime.bundles.contract import DeclaredConfidence
    from runtime.bundles.explain import Ablation
    from runtime.joint.identity import Joint, JointSeat
    from runtime.journal.records import DecisionRecord
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


class MemberAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What its inputs did to what one of several bundles wanted."""

    role: str
    study: str
    bundle: str
    share: float | None  # fraction of the account's equity; None if it decided nothing at this tick
    symbols: tuple[str, ...] = ()
    inputs: tuple["Ablation", ...] = ()  # weights are fractions of its own share
    confidence: Sure | None = None


class ExplainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the inputs of one decision did to it."""

    decision_id: str
    tick: str
    bundle: str
    symbols: tuple[str, ...]  # row order of every score and weight
    inputs: tuple["Ablation", ...]  # the one that moved most first; of several bundles see members
    confidence: Sure | None = None  # None if its bundle does not say
    members: tuple[MemberAnswer, ...] = ()  # where several bundles decided together


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
    """Say what each input did to a decision: the same graph decides again with it neutral.

    Of a decision that several bundles took together, each one's graph is asked about its own part.
    """
    output = Output(as_json=json)
    with reported(output):
        status = show_ablations(settings_of(workspace), output, identifier)
    finish(status)


def show_ablations(settings: "Settings", output: Output, identifier: str) -> int:
    """Decide a journalled decision again, whole and without each input; returns the exit status."""
    from runtime.joint.identity import JointLog
    from service.commands.why import identified
    from service.faults import NotFound
    from service.settings import require_records
    from service.trading.proof import prove_here
    from service.wiring import open_live

    require_records(settings)
    live = open_live(settings, monotonic=time.monotonic, prove=prove_here)
    text = identified(live, identifier.strip().lower())
    reading = live.accounts.holding(text)
    found = reading.find(text)[0].record.decision_id
    journal = reading.journal
    kept = journal.decision(found)
    if kept is None or not kept.record.inputs:
        raise NotFound(
            f"decision {found} saw nothing", "it was refused; sluice why says the reason"
        )
    joint = JointLog(journal.engine).find(kept.record.bundle)
    answer = _alone(settings, kept.record) if joint is None else _of(settings, kept.record, joint)
    output.answer(answer, lambda console: _show(console, answer))
    return OK


def _alone(settings: "Settings", record: "DecisionRecord") -> ExplainAnswer:
    """Explain what one bundle decided."""
    from runtime.bundles.explain import ablate
    from runtime.errors import JournalBroken

    bundle = _loaded(settings, record.bundle)
    again = bundle.session.run(record.inputs)
    said = tuple(signal.confidence for signal in record.signals)
    sure = said if again.confidence is None else tuple(again.confidence.tolist())
    if (tuple(again.weight.tolist()), sure) != (record.weights, said):
        raise JournalBroken(
            f"bundle {record.bundle} no longer decides what decision {record.decision_id} says"
        )
    return ExplainAnswer(
        decision_id=record.decision_id,
        tick=record.tick,
        bundle=record.bundle,
        symbols=record.symbols,
        inputs=ablate(bundle.session, bundle.inputs, record.inputs),
        confidence=_sure(bundle.manifest.confidence, record.symbols, said),
    )


def _of(settings: "Settings", record: "DecisionRecord", joint: "Joint") -> ExplainAnswer:
    """Explain what several bundles decided, each by its own graph."""
    return ExplainAnswer(
        decision_id=record.decision_id,
        tick=record.tick,
        bundle=record.bundle,
        symbols=record.symbols,
        inputs=(),
        members=tuple(_member(settings, record, seat) for seat in joint.seats),
    )


def _member(settings: "Settings", record: "DecisionRecord", seat: "JointSeat") -> MemberAnswer:
    """Explain what one of several wanted; who was not due, or could not decide, saw nothing."""
    from runtime.bundles.explain import ablate
    from runtime.errors import JournalBroken
    from runtime.joint.joint_graph import answers, given_to

    role, kept = seat.role, record.inputs
    nothing = MemberAnswer(role=role, study=seat.study, bundle=seat.bundle, share=None)
    if f"weight {role}" not in kept:
        return nothing
    bundle = _loaded(settings, seat.bundle)
    given = given_to(role, bundle.inputs, kept)
    for name, values in answers(bundle.session.run(given)):
        known = kept.get(f"{name} {role}")
        if known is None or known.tobytes() != values.tobytes():
            raise JournalBroken(
                f"bundle {seat.bundle} no longer gives the {name} that decision "
                f"{record.decision_id} keeps of {role}"
            )
    manifest = bundle.manifest
    sure = kept.get(f"confidence {role}")
    return msgspec.structs.replace(
        nothing,
        share=float(kept[f"share {role}"][0]),
        symbols=manifest.symbols,
        inputs=ablate(bundle.session, bundle.inputs, given),
        confidence=None
        if sure is None
        else _sure(manifest.confidence, manifest.symbols, tuple(sure.tolist())),
    )


def _loaded(settings: "Settings", name: str) -> "LoadedBundle":
    from runtime.bundles.bundle import load_bundle
    from runtime.bundles.signing import load_trusted

    return load_bundle(settings.bundles / name, load_trusted(settings.trusted_keys))


def _sure(
    declared: "DeclaredConfidence | msgspec.UnsetType",
    symbols: tuple[str, ...],
    said: tuple[float, ...],
) -> Sure | None:
    """Return what a decision said of its confidence; None if its bundle declares none."""
    if declared is msgspec.UNSET:
        return None
    floor = declared.abstains_below
    return Sure(
        of=declared.of,
        means=declared.means,
        abstains_below=floor,
        values=said,
        abstained=tuple(
            name
            for name, value in zip(symbols, said, strict=True)
            if floor is not None and value < floor
        ),
    )


def _show(console: "Console", answer: ExplainAnswer) -> None:
    what = f"decision {answer.decision_id} of {answer.tick}"
    if not answer.members:
        _show_inputs(console, answer, f"{what}, decided again without each input")
        return
    for member in answer.members:
        named = f"{member.role}  {member.study} {member.bundle[:12]}"
        if member.share is None:
            console.print(f"\n{named}: decided nothing at this tick", highlight=False)
            continue
        _show_inputs(
            console,
            member,
            f"\n{named}, {member.share:.1%} of the account in {what}; again without each input",
        )


def _show_inputs(console: "Console", answer: ExplainAnswer | MemberAnswer, title: str) -> None:
    from rich.table import Table

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
