"""`sluice calibrate`: the gates judged on studies whose worth is known."""

from typing import TYPE_CHECKING

from pipelines.calibration import Calibration
from pipelines.calibration import calibrate as simulate
from pipelines.gates.policy import default_policy
from service.console import OK, REFUSED, Output

if TYPE_CHECKING:
    from rich.console import Console


def calibrate(output: Output, *, studies: int, analysts: int, seed: int) -> int:
    """Simulate, print what was found, and return 1 if a claim does not hold."""
    with output.console.status(f"Judging {studies} studies and {analysts} analysts"):
        found = simulate(policy=default_policy(), studies=studies, analysts=analysts, seed=seed)
    output.answer(found, lambda console: _show(console, found))
    return OK if found.holds else REFUSED


def _show(console: "Console", found: Calibration) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("what", ratio=1)
    table.add_column("seen", justify="right")
    table.add_column("wanted", justify="right")
    for name, seen, wanted in _rows(found):
        table.add_row(name, seen, wanted)
    console.print(table)
    for claim, holds in found.claims.items():
        mark = "[green]holds[/green]" if holds else "[red]fails[/red]"
        console.print(f"{mark}  {claim}")


def _rows(found: Calibration) -> list[tuple[str, str, str]]:
    spa, pbo, people = found.significance, found.selection, found.analysts
    shape = f"{spa.trials} trials x {spa.days} days"
    return [
        (
            f"SPA on worthless studies of {shape}: rejected",
            _percent(spa.size.share),
            f"{_percent(spa.size.low)} to {_percent(spa.size.high)}",
        ),
        (
            "StepM on the same: any trial kept",
            _percent(spa.family.share),
            f"at most {_percent(spa.family.high)}",
        ),
        *(
            (f"SPA with one trial of annual Sharpe {skill:g}: rejected", _percent(share), "")
            for skill, share in spa.power.items()
        ),
        (
            "PBO of worthless trials, mean",
            f"{pbo.noise.value:.3f}",
            f"{pbo.noise.low:.3f} to {pbo.noise.high:.3f}",
        ),
        (
            "PBO beside one dominant trial, mean",
            f"{pbo.dominant.value:.3f}",
            f"at most {pbo.dominant.high:.3f}",
        ),
        (
            f"Analysts of worthless ideas, 1 to {people.most_tries} tries: pass SPA",
            _percent(people.staging.share),
            f"at most {_percent(people.staging.high)}",
        ),
        ("    had they reported their best idea only", _percent(people.staging_self_reported), ""),
        ("    reach production", _percent(people.production.share), "at most 5.0 %"),
        (
            "    had they reported their best idea only",
            _percent(people.production_self_reported),
            "",
        ),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
