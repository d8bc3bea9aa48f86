"""`sluice card`: a bundle's card written anew from evidence, or its deployment memo."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipelines.errors import EvidenceMissing
from pipelines.gates.policy import default_policy
from pipelines.report.memo import render_memo
from pipelines.report.regenerate import regenerate_card
from pipelines.workspace import open_workspace
from runtime.bundles.bundle import LoadedBundle, load_bundle
from runtime.bundles.signing import load_trusted
from service.console import OK, REFUSED, Output
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


class CardAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle's card says, and whether today's evidence still says so."""

    bundle: str  # hash, hex
    same: bool | None  # None where nothing was compared
    trials: int  # N when signed
    trials_now: int | None
    differences: tuple[str, ...]
    text: str


def show_card(settings: Settings, output: Output, name: str, *, check: bool, memo: bool) -> int:
    """Print a card or a memo; with `check`, compare and return 1 if the card does not hold."""
    bundle = find_bundle(settings, name)
    if memo:
        answer = _plain(bundle, render_memo(bundle))
    elif not check:
        answer = _plain(bundle, (bundle.location / "card.md").read_text("utf-8"))
    else:
        workspace = open_workspace(settings.workspace, environ=os.environ)
        with output.console.status(f"Judging {bundle.manifest.study} anew"):
            found = regenerate_card(bundle, workspace, policy=default_policy())
        answer = CardAnswer(
            bundle=bundle.hash,
            same=found.same,
            trials=bundle.manifest.trials,
            trials_now=found.trials_now,
            differences=found.differences,
            text=found.card,
        )
    output.answer(answer, lambda console: _show(console, answer))
    return REFUSED if answer.same is False else OK


def find_bundle(settings: Settings, name: str) -> LoadedBundle:
    """Return the one bundle of that path, or whose hash begins so, verified."""
    trusted = load_trusted(settings.trusted_keys)
    if Path(name).is_dir():
        return load_bundle(Path(name), trusted)
    folder = settings.workspace / "bundles"
    found = sorted(path for path in folder.glob(f"{name}*") if path.is_dir())
    if len(found) != 1:
        raise EvidenceMissing(
            f"{len(found)} bundles in {folder} begin with {name!r}; give more of the hash"
        )
    return load_bundle(found[0], trusted)


def _plain(bundle: LoadedBundle, text: str) -> CardAnswer:
    return CardAnswer(
        bundle=bundle.hash,
        same=None,
        trials=bundle.manifest.trials,
        trials_now=None,
        differences=(),
        text=text,
    )


def _show(console: "Console", answer: CardAnswer) -> None:
    if answer.same is None:
        console.print(answer.text, markup=False, highlight=False, soft_wrap=True)
    elif answer.same:
        console.print(
            f"The card of {answer.bundle[:12]} is what ledger and lake say today, to the byte."
        )
    else:
        console.print(
            f"[red]The card of {answer.bundle[:12]} is not what the evidence says today[/red] "
            f"(N was {answer.trials}, is {answer.trials_now}):"
        )
        for line in answer.differences:
            console.print(f"  {line}", markup=False, highlight=False)
