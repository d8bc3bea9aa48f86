"""Browsing the store: its views, one of them, and how a value came to be."""

from typing import TYPE_CHECKING, Any

from featurestore.catalog import view_rows
from featurestore.errors import ViewUnknown
from featurestore.features.expression import parse_feature, sources_of
from featurestore.features.library import LIBRARY
from featurestore.times import spoken
from featurestore.views import FeatureView, is_plain, split_feature
from service.console import Output
from service.features.common import end_of_day, open_reader, open_store
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


def list_views(settings: Settings, output: Output) -> None:
    """Print every view with what it holds."""
    rows = view_rows(open_store(settings))
    output.answer(rows, lambda console: _show_list(console, rows))


def _show_list(console: "Console", rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        console.print("No view yet. Fill the lake with history: sluice demo")
        return
    table = Table(box=None, header_style="dim", pad_edge=False, expand=True)
    table.add_column("view", ratio=1)
    table.add_column("fields", ratio=1)
    for name in ("rows", "entities"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("from, to", no_wrap=True)
    for row in rows:
        aside = f"\n[yellow]{row['quarantined']} set aside[/yellow]" if row["quarantined"] else ""
        table.add_row(
            f"[bold]{row['name']}[/bold]\n[dim]{escape(_first_sentence(row['description']))}[/dim]",
            ", ".join(field["name"] for field in row["fields"]),
            f"{row['rows']:,}{aside}",
            f"{row['entities']:,}",
            f"{(row['first'] or '')[:10]}\n{(row['last'] or '')[:10]}",
        )
    console.print(table)
    formulas = ", ".join(sorted(LIBRARY))
    console.print(f"\n[dim]Formulas over them, e.g. sluice features show rsi: {formulas}[/dim]")


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")


def show(settings: Settings, output: Output, name: str) -> None:
    """Print one view's contract, a formula, or a computed feature."""
    store = open_store(settings)
    if name in LIBRARY:
        kind = LIBRARY[name]
        meant: dict[str, Any] = {
            "formula": name,
            "inputs": list(kind.inputs),
            "parameters": dict(kind.defaults),
            "unit": kind.unit,
            "meaning": str(kind.__doc__),
        }
        output.answer(meant, lambda console: _show_formula(console, meant))
        return
    if not is_plain(name):
        parsed = parse_feature(name)
        answer: dict[str, Any] = {
            "feature": parsed.name,
            "sources": [source.name for source in sources_of(name)],
        }
        for source in sources_of(name):
            store.view(source.view).field(source.field)
        output.answer(answer, lambda console: _show_computed(console, answer))
        return
    view = store.view(name.partition(".")[0])
    if "." in name:
        view.field(split_feature(name)[1])
    row = next(one for one in view_rows(store) if one["name"] == view.name)
    output.answer(row, lambda console: _show_view(console, view, row))


def _show_formula(console: "Console", meant: dict[str, Any]) -> None:
    values = [f"{name}={value}" for name, value in meant["parameters"].items()]
    call = ", ".join([*meant["inputs"], *values])
    console.print(f"{meant['formula']}({call})  in {meant['unit']}", markup=False)
    console.print(f"\n{meant['meaning']}", markup=False)


def _show_computed(console: "Console", answer: dict[str, Any]) -> None:
    console.print(answer["feature"], markup=False)
    for source in answer["sources"]:
        console.print(f"  reads {source}", markup=False)


def _show_view(console: "Console", view: FeatureView, row: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    console.print(f"[bold]{view.name}[/bold]  {escape(view.description)}\n")
    facts = Table(box=None, show_header=False, pad_edge=False)
    span = f"{row['first'][:10]} to {row['last'][:10]}" if row["first"] else "nothing yet"
    for name, value in (
        ("one row per", f"{view.entity} and event time"),
        ("sessions", view.calendar or "none, times of their own"),
        (
            "known",
            f"{spoken(view.availability)} after the event" if view.availability else "at once",
        ),
        ("stale after", spoken(view.freshness)),
        ("holds", f"{row['rows']:,} rows of {row['entities']:,} entities, {span}"),
        ("set aside", f"{row['quarantined']:,} rows"),
        ("owner", view.owner),
        ("source", view.source),
        ("contract", row["version_hash"][:16]),
    ):
        facts.add_row(f"[dim]{name}[/dim]", escape(value))
    console.print(facts)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("field", "type", "unit", "allowed", "may be absent"):
        table.add_column(name)
    for field in view.fields:
        low = "" if field.low is None else f"from {field.low:g} "
        high = "" if field.high is None else f"to {field.high:g}"
        nullable = "yes" if field.nullable else "no"
        table.add_row(field.name, field.dtype, escape(field.unit), low + high, nullable)
    console.print()
    console.print(table)


def history(
    settings: Settings, output: Output, entity: str, field: str, *, as_of: str | None, last: int
) -> None:
    """Print the revisions of an entity's field, newest observations last."""
    if not is_plain(field):
        raise ViewUnknown(f"{field} is computed when read; history shows stored fields, view.field")
    reader = open_reader(open_store(settings))
    until = None if as_of is None else end_of_day(as_of)
    found = reader.revisions(field, entity, as_of=until)
    shown = found.tail(last)
    rows = [
        {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row}
        for row in (each.items() for each in shown.to_dicts())
    ]
    name = split_feature(field)[1]
    answer = {
        "entity": entity,
        "field": field,
        "as_of": None if until is None else until.isoformat(),
        "rows": found.height,
        "revised": int((found["revision"] > 0).sum()),
        "revisions": rows,
    }
    output.answer(answer, lambda console: _show_history(console, answer, name))


def _show_history(console: "Console", answer: dict[str, Any], name: str) -> None:
    from rich.table import Table

    until = "" if answer["as_of"] is None else f" as of {answer['as_of'][:10]}"
    console.print(
        f"[bold]{answer['entity']}[/bold] {answer['field']}{until}: {answer['rows']:,} rows, "
        f"{answer['revised']:,} of them revisions\n"
    )
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("of")
    table.add_column("known at, UTC")
    table.add_column(name, justify="right")
    table.add_column("change", justify="right")
    table.add_column("")
    for row in answer["revisions"]:
        value, change = row[name], row["change"]
        kind = "first print" if row["revision"] == 0 else f"revision {row['revision']}"
        until = "" if row["superseded_at"] is None else f", until {row['superseded_at'][:10]}"
        table.add_row(
            row["event_time"][:10],
            row["known_at"][:16].replace("T", " "),
            "absent" if value is None else f"{value:,.6g}",
            "" if change is None else f"{change:+.4g}",
            f"[dim]{kind}{until}[/dim]",
        )
    console.print(table)
