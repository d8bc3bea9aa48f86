"""Writes a bundle's card anew from ledger, lake and manifest, and compares with the one inside."""

import difflib
import io
from dataclasses import dataclass, replace

import polars as pl

from pipelines.gates.policy import GatePolicy
from pipelines.judge import judge_study
from pipelines.promote import Origin, report_data
from pipelines.report.card import render_card
from pipelines.report.page import Track
from pipelines.workspace import Workspace
from runtime.bundles.bundle import LoadedBundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Regenerated:
    """The card that today's evidence gives, beside the one that was signed."""

    card: str
    kept: str
    trial_now: str  # trial key of today's candidate
    trials_now: int  # N today
    differences: tuple[str, ...]  # lines of a unified diff; empty = the same to the byte

    @property
    def same(self) -> bool:
        """Say whether the card holds."""
        return not self.differences


def regenerate_card(
    bundle: LoadedBundle, workspace: Workspace, *, policy: GatePolicy
) -> Regenerated:
    """Judge the bundle's study anew and write its card from that evidence alone.

    The holdout is not looked at again: its returns are those of the signed bundle, whose hash the
    manifest holds. Commit and lock file are the manifest's.

    Raises:
        StudyUnknown, EvidenceMissing, CrossCheckFailed: the evidence is not what it was.
    """
    manifest = bundle.manifest
    judged = judge_study(manifest.study, workspace, policy=policy)
    origin = Origin(git_commit=manifest.git_commit, lock_hash=manifest.lock_hash)
    data = replace(report_data(judged, None, workspace, origin), holdout=_holdout(bundle))
    card = render_card(data)
    kept = (bundle.location / "card.md").read_text("utf-8")
    lines = difflib.unified_diff(
        kept.splitlines(), card.splitlines(), "signed", "regenerated", lineterm="", n=0
    )
    return Regenerated(
        card=card,
        kept=kept,
        trial_now=judged.trial.key,
        trials_now=judged.evidence.counted,
        differences=tuple(lines),
    )


def _holdout(bundle: LoadedBundle) -> Track:
    """Return the holdout's daily returns as the bundle carries them."""
    content = (bundle.location / "returns.parquet").read_bytes()
    frame = pl.read_parquet(io.BytesIO(content)).filter(pl.col("window") == "holdout")
    return Track(
        days=frame["day"].to_list(),
        net=frame["net"].to_numpy(),
        benchmark=frame["benchmark"].to_numpy(),
    )
