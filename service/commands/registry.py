"""`sluice registry`: who sits where, promotions, challengers, roll-backs, shares of the capital."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.options import By, Json, Workspace, finish, workspace_settings
from service.console import OK, Output, reported

if TYPE_CHECKING:
    from rich.console import Console

    from service.operator.registrar import Request
    from service.operator.seats import ArmAnswer, ChangeAnswer, CompareAnswer, RegistryAnswer

app = typer.Typer(
    no_args_is_help=True,
    help="Which bundle sits in which seat: champion, challengers in shadow, arms with capital.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [bold]sluice registry rollback --by ada --why 'loses since Monday'[/bold]",
)

Why = Annotated[str, typer.Option(help="Why, in words.", show_default=False)]
Bundle = Annotated[str, typer.Argument(help="Hash of a bundle, or its beginning.")]
Role = Annotated[str, typer.Option(help="champion, challenger, challenger.NAME or arm.NAME.")]
DRAWDOWN = "Stop below the highest close since promotion by this much, e.g. 0.10."
LOSS = "Stop at a loss in one day above this, e.g. 0.03."
SHORTFALL = "Stop this far behind the benchmark since promotion, e.g. 0.08."


@app.command(epilog="Example: [bold]sluice registry show --at 2026-03-31[/bold]")
def show(
    at: Annotated[
        str | None, typer.Option(metavar="DAY", help="As of the end of this day (UTC).")
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Show every seat: bundle, version, stage, share of the capital, stop bands, comparison."""
    output = Output(as_json=json)
    with reported(output):
        from service.operator.registering import end_of, registrar_of

        found = registrar_of(workspace_settings(workspace)).show(end_of(at))
        output.answer(found, lambda console: _show(console, found))


@app.command(epilog="Example: [bold]sluice registry history --role champion[/bold]")
def history(
    role: Annotated[str | None, typer.Option(help="One seat only.")] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """List every change, newest first: who put which bundle where, when and why."""
    output = Output(as_json=json)
    with reported(output):
        from service.operator.registering import registrar_of
        from service.operator.seats import HistoryAnswer

        found = registrar_of(workspace_settings(workspace)).history(role)
        answer = HistoryAnswer(items=found)
        output.answer(answer, lambda console: _changes(console, found))


@app.command(
    epilog="Example: [bold]sluice registry promote 3f2a91c0 --by ada --why 'a quarter on paper'"
    " --stage production --max-drawdown 0.10[/bold]"
)
def promote(
    bundle: Bundle,
    by: By,
    why: Why,
    role: Role = "champion",
    stage: Annotated[
        str, typer.Option(help="staging or production; as it is signed now if not given.")
    ] = "",
    max_drawdown: Annotated[str | None, typer.Option(metavar="FRACTION", help=DRAWDOWN)] = None,
    max_daily_loss: Annotated[str | None, typer.Option(metavar="FRACTION", help=LOSS)] = None,
    max_shortfall: Annotated[str | None, typer.Option(metavar="FRACTION", help=SHORTFALL)] = None,
    despite: Annotated[
        str, typer.Option(help="Promote a challenger or an arm the test is not for, and why.")
    ] = "",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Sign a bundle's bytes anew, with who, why, when and its stop bands, and seat it.

    Ends with 1 if it does not verify, if the gates did not allow the stage, or if it is a
    challenger or an arm that is not shown to be better than the champion.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.operator.registering import bands_of
        from service.operator.registrar import Request

        bands = bands_of(max_drawdown, max_daily_loss, max_shortfall)
        _sign(
            output,
            workspace,
            Request(
                bundle=bundle,
                role=role,
                stage=stage,
                by=by,
                why=why,
                bands=bands,
                despite=despite,
            ),
        )


@app.command(epilog="Example: [bold]sluice registry challenge 3f2a91c0 --by ada --why newer[/bold]")
def challenge(
    bundle: Bundle,
    by: By,
    why: Why,
    role: Role = "challenger",
    alpha: Annotated[
        float, typer.Option(help="Chance, at most, of ever calling an equal challenger better.")
    ] = 0.05,
    bound: Annotated[
        float, typer.Option(help="Daily differences of returns are clipped to this.")
    ] = 0.02,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Let a bundle decide in shadow beside the champion; how it is judged is fixed now."""
    output = Output(as_json=json)
    with reported(output):
        from service.operator.registrar import Request

        asked = Request(bundle=bundle, role=role, by=by, why=why, alpha=alpha, bound=bound)
        _sign(output, workspace, asked)


@app.command(epilog="Example: [bold]sluice registry compare[/bold]")
def compare(role: Role = "challenger", workspace: Workspace = None, json: Json = False) -> None:
    """Weigh a challenger against its champion; may be looked at every day."""
    output = Output(as_json=json)
    with reported(output):
        from service.operator.registering import registrar_of

        found = registrar_of(workspace_settings(workspace)).compare(role)
        output.answer(found, lambda console: _compare(console, found))


@app.command(
    epilog="Example: [bold]sluice registry rollback --by ada --why 'loses since Monday'[/bold]"
)
def rollback(
    by: By, why: Why, role: Role = "champion", workspace: Workspace = None, json: Json = False
) -> None:
    """Put the bundle back that sat in a seat before; it decides at the next session.

    Ends with 1 if nothing sat there before.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.operator.registering import registrar_of

        done = registrar_of(workspace_settings(workspace)).rollback(role, by=by, why=why)
        output.answer(done, lambda console: _change(console, done))


@app.command(epilog="Example: [bold]sluice registry retire --role arm.b --by ada --why done[/bold]")
def retire(
    by: By, why: Why, role: Role = "champion", workspace: Workspace = None, json: Json = False
) -> None:
    """Empty a seat; one with capital has to lose its share first."""
    output = Output(as_json=json)
    with reported(output):
        from service.operator.registering import registrar_of

        done = registrar_of(workspace_settings(workspace)).retire(role, by=by, why=why)
        output.answer(done, lambda console: _change(console, done))


@app.command(
    epilog="Example: [bold]sluice registry allocate champion=0.7 arm.b=0.3 --by ada"
    " --why 'A/B until June'[/bold]"
)
def allocate(
    by: By,
    why: Why,
    fractions: Annotated[
        list[str] | None,
        typer.Argument(metavar="ROLE=FRACTION", help="None at all = all to the champion."),
    ] = None,
    max_turnover: Annotated[
        str | None, typer.Option(help="Fraction of equity traded per tick, at most.")
    ] = None,
    control: Annotated[
        str | None, typer.Option(metavar="ROLE", help="Whom the arms are compared with.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Chance, at most, of ever deciding wrongly (0.05).")
    ] = None,
    bound: Annotated[
        float | None, typer.Option(help="Daily differences are clipped to this (0.02).")
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Share the live account's capital among seats; what adds up to less than 1 stays in cash.

    Seats that share are an A/B test: how it is judged is fixed now, `sluice registry arms` shows
    it. Other fractions let it go on; another control, alpha, bound or set of seats begins anew.
    """
    output = Output(as_json=json)
    with reported(output):
        from service.operator.registering import fractions_of, registrar_of

        registrar = registrar_of(workspace_settings(workspace))
        shared = fractions_of(fractions or [])
        registrar.allocate(
            shared,
            max_turnover=max_turnover,
            by=by,
            why=why,
            control=control,
            alpha=alpha,
            bound=bound,
        )
        found = registrar.show()
        output.answer(found, lambda console: _show(console, found))


@app.command(epilog="Example: [bold]sluice registry arms[/bold]")
def arms(workspace: Workspace = None, json: Json = False) -> None:
    """Weigh A/B arms by what they earned net of costs; may be looked at every day."""
    output = Output(as_json=json)
    with reported(output):
        from service.operator.registering import registrar_of

        found = registrar_of(workspace_settings(workspace)).arms()

        def shown(console: "Console") -> None:
            if not found.arms:
                console.print("no arms are judged; share the capital with sluice registry allocate")
            for one in found.arms:
                _arm(console, one)

        output.answer(found, shown)


@app.command(epilog="Example: [bold]sluice registry shares --days 5[/bold]")
def shares(
    days: Annotated[int, typer.Option(min=1, help="How many closes.")] = 1,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Show what each bundle of the live account has and made; the parts add up to the account."""
    output = Output(as_json=json)
    with reported(output):
        from service.operator.registering import registrar_of

        found = registrar_of(workspace_settings(workspace)).shares(days)

        def shown(console: "Console") -> None:
            if not found.days:
                console.print("one bundle trades the account; nothing is shared yet")
            for one in found.days:
                returned = "" if one.returned is None else f"  {one.returned:+.2%}"
                console.print(
                    f"{one.day}  {one.role:<16} {one.equity:>16,.2f} USD  made {one.profit:>12,.2f}"
                    f"{returned}",
                    markup=False,
                )

        output.answer(found, shown)


def _sign(output: Output, workspace: Path | None, asked: "Request") -> None:
    from service.operator.registering import promotions_of
    from service.operator.registrar import change_answer

    change = promotions_of(workspace_settings(workspace)).promote(asked)
    done = change_answer(change)
    output.answer(done, lambda console: _change(console, done))
    finish(OK)


def _show(console: "Console", found: "RegistryAnswer") -> None:
    if not found.seats:
        console.print("every seat is empty; promote a study with sluice promote STUDY")
    for seat in found.seats:
        share = "in shadow" if seat.fraction is None else f"{seat.fraction:.0%} of the capital"
        state = "[red]stopped[/red], sells what it holds" if seat.stopped else share
        console.print(
            f"[bold]{seat.role}[/bold]  {seat.study} version {seat.version} "
            f"({seat.bundle[:12]}, {seat.stage})  {state}"
        )
        console.print(f"    since {seat.since}, by {seat.by}: {seat.why}", markup=False)
        for name, limit in seat.bands.items():
            console.print(f"    stop band {name.replace('_', ' ')}: {limit}", markup=False)
        if seat.comparison is not None:
            console.print(f"    {seat.comparison.words}", markup=False)
    if found.max_turnover is not None:
        console.print(f"at most {found.max_turnover:.1%} of equity is traded per tick")
    if found.shared:
        console.print("how the arms do against each other: sluice registry arms")


def _changes(console: "Console", found: "tuple[ChangeAnswer, ...]") -> None:
    for one in found:
        _change(console, one)


def _change(console: "Console", one: "ChangeAnswer") -> None:
    what = f"{one.study} version {one.version} ({one.bundle[:12]}, {one.stage})"
    if not one.bundle:
        what = one.study
    console.print(
        f"{one.at}  {one.action:<9} {one.role:<12} {what}, by {one.by}: {one.why}", markup=False
    )


def _compare(console: "Console", found: "CompareAnswer") -> None:
    console.print(f"[bold]{found.words}[/bold]")
    days = f"{found.first} to {found.last}" if found.first else "no day on record yet"
    console.print(
        f"{days}: {found.study} ({found.challenger[:12]}) {found.challenger_return:+.2%}, champion "
        f"({found.champion[:12]}) {found.champion_return:+.2%}, both on paper by one rule"
    )
    console.print(
        f"a day the challenger makes {found.mean:+.4%} more; between {found.low:+.4%} and "
        f"{found.high:+.4%}, which holds however often one looks ({1 - found.alpha:.0%})"
    )
    console.print(
        f"evidence for it {found.better:.2f}, against it {found.worse:.2f}; {found.needed:.0f} "
        f"decides. {found.clipped} of {found.days} days were beyond {found.bound:.1%} and clipped"
    )


def _arm(console: "Console", one: "ArmAnswer") -> None:
    console.print(f"[bold]{one.role}[/bold] {one.words}")
    days = f"{one.first} to {one.last}" if one.first else "no session counts yet"
    console.print(
        f"    {days}: {one.study} ({one.bundle[:12]}) {one.arm_return:+.2%}, {one.control_role} "
        f"({one.control[:12]}) {one.control_return:+.2%}, both net of costs"
    )
    console.print(
        f"    a session the arm makes {one.mean:+.4%} more; between {one.low:+.4%} and "
        f"{one.high:+.4%}, which holds however often one looks"
    )
    console.print(
        f"    evidence for it {one.better:.2f}, against it {one.worse:.2f}; {one.needed:.0f} "
        f"decides, which {one.alpha:.0%} of tests of equals ever reach at most. "
        f"{one.clipped} of {one.days} sessions were beyond {one.bound:.1%} and clipped"
    )
