"""`sluice verify`: every check of a bundle, one by one, and the file that fails."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from runtime.bundles.bundle import CONTENT, VerifiedBundle, load_bundle
from runtime.bundles.bundle import verify_bundle as check
from runtime.bundles.signing import load_trusted
from runtime.errors import BundleRefused
from service.console import OK, REFUSED, Output
from service.faults import NotFound
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


class VerifiedCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was checked."""

    name: str
    passed: bool
    detail: str


class VerifyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What `sluice verify` found."""

    bundle: str
    verified: bool
    hash: str | None
    study: str | None
    version: int | None
    stage: str | None
    file: str | None  # the file that was refused
    checks: tuple[VerifiedCheck, ...]


def verify_bundle(settings: Settings, output: Output, bundle: Path, *, keys: Path | None) -> int:
    """Verify a bundle's folder or archive and report; returns the exit status."""
    path = bundle if bundle.exists() else settings.bundles / bundle
    if not path.exists():
        raise NotFound(f"there is no bundle {bundle}", "name a folder or a .tar.zst file")
    trusted = load_trusted(keys or settings.trusted_keys)
    checks: list[VerifiedCheck] = []
    verified, refused = None, None
    try:
        verified = check(path, trusted)
        checks += _passed(verified)
        loaded = load_bundle(path, trusted)
        inputs = ", ".join(sorted(loaded.inputs))
        checks.append(_check("graph", f"loads within its limits, wants {inputs}"))
        checks.append(_check("golden rows", "decided again, equal to the bit"))
    except BundleRefused as error:
        refused = str(error).split(":", 1)[0]
        checks.append(VerifiedCheck(name=refused, passed=False, detail=str(error)))
    answer = VerifyAnswer(
        bundle=str(bundle),
        verified=refused is None,
        hash=verified.hash if verified else None,
        study=verified.manifest.study if verified else None,
        version=verified.signature.version if verified else None,
        stage=verified.signature.stage if verified else None,
        file=refused,
        checks=tuple(checks),
    )
    output.answer(answer, _shower(answer))
    return OK if answer.verified else REFUSED


def _check(name: str, detail: str) -> VerifiedCheck:
    return VerifiedCheck(name=name, passed=True, detail=detail)


def _passed(bundle: VerifiedBundle) -> list[VerifiedCheck]:
    hashes = bundle.manifest.files
    files = [_check(name, f"SHA-256 {hashes[name][:16]} as signed") for name in CONTENT]
    return [
        _check("signature", f"Ed25519 by {bundle.signature.signer}, who is trusted"),
        _check("manifest.json", "canonical, its hash is what was signed"),
        *files,
    ]


def _shower(answer: VerifyAnswer) -> "Callable[[Console], None]":
    def show(console: "Console") -> None:
        for one in answer.checks:
            sign = "[green]ok     [/green]" if one.passed else "[bold red]refused[/bold red]"
            console.print(f"{sign} [bold]{one.name:<16}[/bold]", end=" ")
            console.print(one.detail, markup=False)
        if answer.verified and answer.hash:
            console.print(
                f"\n[bold]{answer.study}[/bold] version {answer.version}, {answer.stage}, "
                f"bundle {answer.hash[:16]}: [green]verified[/green]"
            )

    return show
