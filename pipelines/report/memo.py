"""The deployment memo: what goes live, what it may do, how it is stopped; from the bundle alone."""

from pipelines.report.page import STAGE_IN_WORDS
from runtime.bundles.bundle import LoadedBundle
from runtime.bundles.contract import GateVerdict


def render_memo(bundle: LoadedBundle) -> str:
    """Return the memo as Markdown; every figure stands in the signed manifest or the signature."""
    manifest, signature = bundle.manifest, bundle.signature
    inputs = [
        f"| {declared.name} | {type(declared.source).__name__} | "
        f"`{(declared.view_hash or 'account')[:16]}` |"
        for declared in manifest.inputs
    ]
    lines = [
        f"# Deployment of {manifest.study}, version {bundle.version}",
        "",
        f"{STAGE_IN_WORDS[bundle.stage]} Signed by {signature.signer} at {signature.signed_at}.",
        "",
        "## What it does",
        "",
        f"- Decides: {manifest.schedule.replace('_', ' ')} on {manifest.calendar}",
        f"- Trades: {len(manifest.symbols)} names of {manifest.universe}: "
        f"{', '.join(manifest.symbols)}",
        f"- Sizes: {manifest.sizing.invested:.0%} of equity, priced on `{manifest.price_feature}`",
        f"- Assumes costs of {1e4 * manifest.sizing.cost_rate:g} bp of traded notional",
        "",
        "| input | kind | view |",
        "| --- | --- | --- |",
        *inputs,
        "",
        "## Why it may",
        "",
        f"- {manifest.trials} trials were counted on its question",
        *(f"- {_said(verdict)}" for verdict in manifest.verdicts),
        f"- Researched on {' to '.join(manifest.research_window)}, held out on "
        f"{' to '.join(manifest.holdout_window)}, which was looked at once",
        "",
        "## Before it goes live",
        "",
        f"1. `sluice verify {bundle.hash[:12]}` proves signature, files and golden rows",
        f"2. `sluice card {bundle.hash[:12]} --check` writes its card anew from the ledger and "
        "compares",
        "3. Venues of its stage only: a staging bundle never reaches a live venue",
        "",
        "## How it is stopped",
        "",
        "- The kill switch refuses new orders at once and cancels open ones",
        "- A rollback gives the seat back to the version before; both stay in the registry",
        "",
        "## Records",
        "",
        f"- Bundle: `{bundle.hash}`",
        f"- Trial: `{manifest.trial}`",
        f"- Notebook: `{manifest.notebook}`, `{manifest.notebook_hash}`",
        f"- Data snapshot: `{manifest.snapshot.hash}`",
        f"- Commit: `{manifest.git_commit}`; locked dependencies: `{manifest.lock_hash}`",
        *(f"- `{name}`: `{digest}`" for name, digest in sorted(manifest.files.items())),
    ]
    return "\n".join(lines) + "\n"


def _said(verdict: GateVerdict) -> str:
    passed = "passed" if verdict.passed else "NOT passed"
    return f"{verdict.gate}: {passed}. {verdict.reason}"
