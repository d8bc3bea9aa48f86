"""`sluice why`: a tree from an order or decision back to the notebook cell that decided it."""

import time
from datetime import date
from typing import TYPE_CHECKING

from service.console import OK, Output
from service.faults import NotFound
from service.live import Live
from service.settings import Settings, require_records
from service.trading.proof import prove_here
from service.web.answers import DecisionAnswer, OriginAnswer, PlanLine
from service.wiring import open_live

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree


def explain(settings: Settings, output: Output, identifier: str) -> int:
    """Print the origin of an order or decision; returns the exit status."""
    require_records(settings)
    live = open_live(settings, monotonic=time.monotonic, prove=prove_here)
    origin = live.origins.of(identified(live, identifier.strip().lower()))
    found = origin.decision.decision_id
    decision = live.accounts.holding(found).decision(found)
    output.answer(origin, lambda console: _show(console, origin, decision))
    return OK


def identified(live: Live, text: str) -> str:
    """Return an id; a day stands for the newest decision up to its end."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return text
    found = live.reading.decisions(day, None, 1).items
    if not found:
        raise NotFound(f"nothing was decided up to {day}", "name a later day")
    return found[0].decision_id


def _show(console: "Console", origin: OriginAnswer, decision: DecisionAnswer) -> None:
    from rich.markup import escape
    from rich.syntax import Syntax
    from rich.tree import Tree

    order, bundle, trial, cell = origin.order, origin.bundle, origin.trial, origin.cell
    tree = Tree(_title(origin), guide_style="dim")
    node = tree
    if order is not None:
        line = next(one for one in decision.lines if order.order_id in _ids(one))
        _order(tree, origin, line)
        node = tree.add(f"[bold]decision[/bold] {decision.decision_id}  of {decision.tick}")
    else:
        _lines(tree, decision)
    node.add(
        f"data known by {decision.known_at:%Y-%m-%d %H:%M} UTC, "
        f"inputs {decision.inputs_hash[:12]}, snapshot {decision.snapshot_hash[:12]}"
    )
    for one in origin.members:
        part = "" if one.units is None else f", {one.units:+,g} of this order"
        node.add(f"{one.role}  {one.study} {one.bundle[:12]}, {one.fraction} of the capital{part}")
    held = node.add(
        f"[bold]bundle[/bold] {bundle.hash[:16]}  version {bundle.version}, {bundle.stage}, "
        f"signed by {bundle.signer} on {bundle.signed_at[:10]}"
    )
    study = held.add(
        f"[bold]study[/bold] {origin.study}  researched {' to '.join(origin.research_window)}, "
        f"sealed {' to '.join(origin.holdout_window)}"
    )
    study.add(
        "  ".join(
            f"[{'green' if one.passed else 'red'}]{one.gate}"
            f"{'' if one.statistic is None else f' {one.statistic:.3g}'}[/]"
            for one in origin.verdicts
        )
    )
    values = ", ".join(f"{name}={value}" for name, value in trial.parameters.items())
    tried = study.add(f"[bold]trial[/bold] {trial.key[:16]}  {escape(values)}; one of {trial.of}")
    run = tried
    if trial.run is not None:
        run = tried.add(f"[bold]run[/bold] {trial.run}  opened {(trial.opened_at or '')[:19]}")
    where = f"under “{cell.heading}”" if cell.heading else ""
    run.add(f"[bold]notebook[/bold] {escape(cell.notebook)}  cell {cell.cell + 1} {escape(where)}")
    console.print(tree)
    console.print(f"\n[bold]{escape(cell.notebook)}, cell {cell.cell + 1}[/bold]\n")
    source = cell.source.strip("\n")
    console.print(
        Syntax(source, "python", theme="ansi_light", background_color="default", word_wrap=True)
    )


def _title(origin: OriginAnswer) -> str:
    order = origin.order
    if order is None:
        return f"[bold]decision[/bold] {origin.decision.decision_id}  of {origin.decision.tick}"
    return (
        f"[bold]order[/bold] {order.order_id}  {order.side} {order.quantity:,} {order.symbol} "
        f"at {order.venue}, {order.state}"
    )


def _ids(line: PlanLine) -> tuple[str, ...]:
    return tuple(order.order_id for order in line.orders)


def _order(tree: "Tree", origin: OriginAnswer, line: PlanLine) -> None:
    from rich.markup import escape

    tree.add(escape(line.reason))
    checks = tree.add(f"guardrails: {sum(v.passed for v in line.verdicts)} passed")
    for verdict in line.verdicts:
        sign = "[green]ok[/green]" if verdict.passed else "[red]refused[/red]"
        checks.add(f"{sign} {escape(verdict.check)}: {escape(verdict.reason)}")
    if line.route:
        tree.add(escape(line.route))
    if origin.order is not None:
        for fill in origin.order.fills:
            tree.add(
                f"filled {fill.quantity:,} at {fill.price:,} USD, fee {fill.fee} USD, "
                f"{fill.executed_at:%Y-%m-%d %H:%M} UTC"
            )


def _lines(tree: "Tree", decision: DecisionAnswer) -> None:
    from rich.markup import escape

    plan = tree.add(f"plan: {len(decision.lines)} orders")
    for line in decision.lines:
        state = "" if line.passed else "  [red]denied[/red]"
        ids = " ".join(name[:8] for name in _ids(line))
        one = plan.add(
            f"{line.side:<4} {line.quantity:>10,} {line.symbol:<6} "
            f"{line.notional:>14,} USD  [dim]{ids}[/dim]{state}"
        )
        for verdict in line.verdicts:
            if not verdict.passed:  # no order came of it that could be asked about
                said = f"{verdict.check}: {verdict.reason}"
                against = f" ({verdict.observed}, allowed {verdict.limit})" if verdict.limit else ""
                one.add(f"[red]refused[/red] {escape(said + against)}")
