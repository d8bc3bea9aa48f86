"""Proving the store: contracts over everything held, and the leak audit."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from featurestore.audit import AuditReport, audit_reads, audit_view
from featurestore.check import ViewCheck, check_store
from featurestore.errors import ViewUnknown
from featurestore.features.expression import sources_of
from featurestore.reader import LakeReader
from featurestore.views import is_plain, split_feature
from runtime.clock import WallClock
from service.console import OK, REFUSED, Output
from service.features.common import open_reader, open_store
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


def check(settings: Settings, output: Output, views: Sequence[str] | None, *, fresh: bool) -> int:
    """Print whether each view's contract holds; returns the exit status."""
    fresh_at = WallClock().now() if fresh else None
    checks = check_store(open_store(settings), views, fresh_at=fresh_at)
    holds = all(one.holds for one in checks)
    answer = {"holds": holds, "views": [{**asdict(one), "holds": one.holds} for one in checks]}
    output.answer(answer, lambda console: _show_checks(console, checks))
    return OK if holds else REFUSED


def _show_checks(console: "Console", checks: Sequence[ViewCheck]) -> None:
    from rich.markup import escape

    if not checks:
        console.print("No view yet. Fill the lake with history: sluice demo")
    for one in checks:
        sign = "[green]holds[/green] " if one.holds else "[red]broken[/red]"
        console.print(f"{sign} [bold]{one.view}[/bold]  {one.rows:,} rows")
        for sentence in one.broken:
            console.print(f"  [red]{escape(sentence)}[/red]")
        for note in one.notes:
            console.print(f"  [yellow]{escape(note)}[/yellow]")


def audit(
    settings: Settings, output: Output, targets: Sequence[str], *, samples: int, seed: int
) -> int:
    """Print what the leak audit finds; returns the exit status."""
    reports: list[AuditReport] = []
    notebooks = [target for target in targets if target.endswith(".ipynb")]
    names = [target for target in targets if not target.endswith(".ipynb")]
    if notebooks:
        from service.research.audit import audit_notebooks

        reports += audit_notebooks(settings, notebooks, samples=samples, seed=seed)
    if names or not targets:
        store = open_store(settings)
        reader = open_reader(store)
        held = reader.snapshot.versions
        every = [view.name for view in store.views() if view.name in held]
        for name in names or every:
            reports.append(_audit_one(reader, name, samples, seed))
    clean = all(report.clean for report in reports)
    answer = {"clean": clean, "reports": [_plain(report) for report in reports]}
    output.answer(answer, lambda console: _show_reports(console, reports))
    return OK if clean else REFUSED


def _audit_one(reader: LakeReader, name: str, samples: int, seed: int) -> AuditReport:
    if is_plain(name):
        if "." in name:
            view, field = split_feature(name)
            reader.view(view).field(field)
            name = view
        return audit_view(reader, name, samples=samples, seed=seed)
    sources = sources_of(name)
    own = next((source for source in sources if source.entity is None), None)
    if own is None:
        raise ViewUnknown(f"{name}: every source names its entity, so there is no symbol to audit")
    symbols = reader.symbols(own.view)
    known = reader.rows(own.view)["known_at"].unique().sort()
    late = known[known.len() // 2 :]
    step = max(1, late.len() // samples)
    times = late.gather_every(step).to_list()[-samples:]
    return audit_reads(
        name,
        lambda held, at: {name: held.window(name, symbols, length=1, at=at)},
        reader,
        times,
        symbols,
    )


def _plain(report: AuditReport) -> dict[str, Any]:
    leaks = [{**asdict(leak), "remedy": leak.remedy, "text": str(leak)} for leak in report.leaks]
    return {**asdict(report), "clean": report.clean, "leaks": leaks}


def _show_reports(console: "Console", reports: Sequence[AuditReport]) -> None:
    from rich.markup import escape

    for report in reports:
        sign = "[green]clean[/green]" if report.clean else "[red]leaks[/red]"
        how = f"{report.rows:,} values, the future cut off at {report.checked} instants"
        console.print(f"{sign} [bold]{escape(report.subject)}[/bold]  {how}")
        for leak in report.leaks:
            console.print(f"  [red]{escape(str(leak))}[/red]")
        for note in report.notes:
            console.print(f"  [yellow]{escape(note)}[/yellow]")
    if not reports:
        console.print("Nothing to audit yet. Fill the lake with history: sluice demo")
