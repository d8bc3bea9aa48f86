"""`sluice routing`: what the router saves on simulated venues whose true costs are known."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from pipelines.routing_study import RoutingStudy, study
from service.console import OK, REFUSED, Output

if TYPE_CHECKING:
    from rich.console import Console

SAVES, RIGHT = 0.10, 0.95  # what is claimed of the router


def show_routing(output: Output, *, markets: int, orders: int, seed: int) -> int:
    """Simulate, print what was found, and return 1 if a claim does not hold."""
    with output.console.status(f"Routing {markets * orders} orders over {markets} markets"):
        found = study(markets=markets, orders=orders, seed=seed)
    output.answer(asdict(found), lambda console: _show(console, found))
    return OK if found.saving.value >= SAVES and found.right.value >= RIGHT else REFUSED


def _show(console: "Console", found: RoutingStudy) -> None:
    console.print(
        f"{found.orders:,} orders in {found.markets} simulated markets; slippage against the mid at"
        f" arrival, fees included: {found.routed:.2f} bp routed, {found.primary:.2f} bp all to the"
        " primary"
    )
    for text, one, wanted in (
        ("slippage saved", found.saving, SAVES),
        ("first unit at a right venue", found.right, RIGHT),
    ):
        mark = "[green]holds[/green]" if one.value >= wanted else "[red]fails[/red]"
        console.print(
            f"{mark}  {text} {one.value:.1%} (95 % interval {one.low:.1%} to {one.high:.1%}),"
            f" claimed at least {wanted:.0%}"
        )
