"""Promotion: a candidate that passed the gates becomes a signed bundle.

1. judge the study anew over all its trials; refused means no look at the holdout
2. spend the sealed holdout: recorded first, then looked at, once
3. execute the notebook with the candidate's parameters, for the bundle to carry
4. sample golden rows, draw the report, write the card
5. write and sign the bundle, activate it in the registry, record the promotion
"""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from featurestore.features.serving import contract_hash
from featurestore.seals import Opening
from featurestore.universes import universe
from pipelines.backtest import Backtest, backtest
from pipelines.definition import Definition, definition_cells
from pipelines.door import answered_for
from pipelines.errors import PromotionRefused
from pipelines.gates.lookahead import sampled_times
from pipelines.gates.policy import GatePolicy
from pipelines.judge import Judged, judge_study
from pipelines.ledger import Ledger, Promotion
from pipelines.models.declared import Trained
from pipelines.performance import figures
from pipelines.report.card import render_card
from pipelines.report.page import ReportData, Track, render
from pipelines.runs.executed import strip_volatile
from pipelines.strategy import Strategy
from pipelines.study import Study
from pipelines.workspace import Workspace, platform_checks
from runtime.bundles.bundle import LoadedBundle, load_bundle, write_bundle
from runtime.bundles.contract import (
    SCHEMA_VERSION,
    DataSnapshot,
    DeclaredConfidence,
    DeclaredInput,
    Manifest,
)
from runtime.bundles.golden import GoldenRow, golden_bytes
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import CurrentWeights, gather
from runtime.bundles.signing import Signer
from runtime.clock import Clock
from runtime.registry import Promoted, Registry

GOLDEN_ROWS = 12
REPOSITORY = Path(__file__).resolve().parents[1]  # its place on this machine is scrubbed
ExecuteNotebook = Callable[[str, Mapping[str, object]], Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the code came from; part of the manifest, so it must not vary between equal runs."""

    git_commit: str
    lock_hash: str  # SHA-256 of the requirement file, hex


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromotedBundle:
    """What promotion produced."""

    bundle: LoadedBundle
    judged: Judged
    holdout: Backtest


def promote(
    name: str,
    workspace: Workspace,
    *,
    policy: GatePolicy,
    registry: Registry,
    signer: Signer,
    origin: Origin,
    execute: ExecuteNotebook,
    clock: Clock,
    by: str,
) -> PromotedBundle:
    """Promote a study's candidate to the stage the gates allow.

    Args:
        name: the study.
        workspace: where its trials are recorded.
        policy: thresholds of the gates.
        registry: where the bundle takes the champion's seat.
        signer: whose key signs.
        origin: commit and lock file, for the manifest.
        execute: (notebook path, parameters) -> path of the executed notebook.
        clock: stamps signature and records.
        by: who promotes, for the records.

    Raises:
        PromotionRefused: the gates say no; the holdout stays sealed.
        HoldoutSpent: another trial of the study has looked at the holdout.
        EvidenceMissing, NotebookInvalid, CrossCheckFailed: see `judge_study`.
    """
    judged = judge_study(name, workspace, policy=policy)
    if judged.verdict.stage == "refused":
        raise PromotionRefused(f"study {name}: {judged.verdict.summary}")
    ledger, study = workspace.ledger(), judged.definition.study
    held_out = _spend_holdout(judged, workspace, ledger, clock=clock, by=by)
    notebook = execute(judged.definition.notebook, judged.definition.strategy.parameters)
    files = _files(judged, held_out, workspace, notebook.read_bytes(), origin)
    draft = _manifest(judged, workspace, files["notebook.ipynb"], origin)
    folder = write_bundle(
        workspace.path / "bundles",
        draft,
        files,
        signer=signer,
        signed_at=clock.now(),
        version=registry.newest_version(study.name) + 1,
        by=by,
        why=judged.verdict.summary,
    )
    bundle = load_bundle(folder, {signer.name: signer.public_key})
    _take_seat(bundle, judged, ledger, registry, by=by, clock=clock)
    return PromotedBundle(bundle=bundle, judged=judged, holdout=held_out)


def _take_seat(
    bundle: LoadedBundle,
    judged: Judged,
    ledger: Ledger,
    registry: Registry,
    *,
    by: str,
    clock: Clock,
) -> None:
    """Give the bundle the champion's seat of its study, and record the promotion."""
    stage = judged.verdict.stage
    assert stage != "refused"
    promoted = Promoted(
        study=bundle.manifest.study,
        bundle=bundle.hash,
        version=bundle.version,
        stage=bundle.stage,
        promotion=bundle.signature,
    )
    registry.activate(promoted, by=by, why=judged.verdict.summary, at=clock.now())
    ledger.record_promotion(
        Promotion(
            study=bundle.manifest.study,
            trial=judged.trial.key,
            bundle=bundle.hash,
            stage=stage,
            version=bundle.version,
            by=by,
        )
    )


def _spend_holdout(
    judged: Judged, workspace: Workspace, ledger: Ledger, *, clock: Clock, by: str
) -> Backtest:
    """Record the one look, take it, record what was seen.

    A promotion that was cut off may take its own look again: the same trial shows the same.
    """
    study = judged.definition.study
    spent = ledger.holdout(study.name)
    if spent is None or spent.trial != judged.trial.key:
        ledger.spend_holdout(study.name, judged.trial.key, by, clock.now())
    opening = Opening(by=by, purpose=f"holdout of {study.name}, trial {judged.trial.key}")
    with platform_checks():
        reader = workspace.platform_reader(opening=opening)
    with answered_for():
        result = backtest(
            DecisionSession(judged.evaluation.graph),
            judged.definition.strategy.inputs,
            reader,
            study,
            study.holdout,
        )
    ledger.record_holdout(study.name, figures(result))
    return result


def _files(
    judged: Judged, holdout: Backtest, workspace: Workspace, executed: bytes, origin: Origin
) -> dict[str, bytes]:
    """Return every file of the bundle but manifest and signature."""
    data = report_data(judged, holdout, workspace, origin)
    return {
        "graph.onnx": judged.evaluation.graph,
        "golden.parquet": golden_bytes(_golden_rows(judged, workspace)),
        "notebook.ipynb": strip_volatile(executed, paths=(workspace.path, REPOSITORY)),
        "report.html": render(data).encode(),
        "card.md": render_card(data).encode(),
        "returns.parquet": _returns(judged.evaluation.backtest, holdout),
    }


def _golden_rows(judged: Judged, workspace: Workspace) -> list[GoldenRow]:
    """Sample decisions of the research window as the runtime would gather and make them."""
    result, definition = judged.evaluation.backtest, judged.definition
    reader = workspace.research_reader(definition.study)
    session = DecisionSession(judged.evaluation.graph)
    rows = []
    for at in sampled_times(result.decided_at, samples=GOLDEN_ROWS, seed=0):
        index = result.decided_at.index(at)
        inputs = gather(
            reader,
            definition.strategy.inputs,
            result.symbols,
            at=at,
            current=result.current[index],
        )
        decided = session.run(inputs)
        rows.append(
            GoldenRow(
                at=at.isoformat(),
                inputs=inputs,
                score=decided.score,
                weight=decided.weight,
                confidence=decided.confidence,
            )
        )
    return rows


def _returns(research: Backtest, holdout: Backtest) -> bytes:
    """Write daily returns of both windows as Parquet."""
    frame = pl.concat(
        pl.DataFrame(
            {
                "day": part.dates,
                "window": [window] * len(part.dates),
                "net": part.net,
                "gross": part.gross,
                "benchmark": part.benchmark,
            }
        )
        for window, part in (("research", research), ("holdout", holdout))
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=False)
    return buffer.getvalue()


def _manifest(judged: Judged, workspace: Workspace, notebook: bytes, origin: Origin) -> Manifest:
    definition, study = judged.definition, judged.definition.study
    stage = judged.verdict.stage
    cells = definition_cells(msgspec.json.decode(notebook), "notebook.ipynb")
    assert stage != "refused"
    return Manifest(
        schema_version=SCHEMA_VERSION,
        study=study.name,
        trial=judged.trial.key,
        notebook=_portable(definition.notebook),
        parameters=dict(definition.strategy.parameters),
        universe=study.universe,
        symbols=judged.evaluation.backtest.symbols,
        calendar=study.calendar,
        schedule=study.schedule,
        inputs=_declared_inputs(definition, workspace),
        sizing=study.sizing,
        price_feature=study.price_feature,
        snapshot=DataSnapshot(versions=workspace.snapshot.versions, hash=workspace.snapshot.hash),
        files={},
        notebook_hash=hashlib.sha256(notebook).hexdigest(),
        code_hash=definition.code_hash,
        git_commit=origin.git_commit,
        lock_hash=origin.lock_hash,
        trials=judged.evidence.counted,
        verdicts=judged.verdict.verdicts,
        stage=stage,
        decide_cell=cells["strategy"].index,
        research_window=(study.research.start.isoformat(), study.research.end.isoformat()),
        holdout_window=(study.holdout.start.isoformat(), study.holdout.end.isoformat()),
        confidence=_declared_confidence(definition.strategy),
    )


def _declared_confidence(strategy: Strategy) -> DeclaredConfidence | msgspec.UnsetType:
    """Return what the graph's confidence says and obliges to; unset if it gives none."""
    declared = strategy.confidence
    if declared is None:
        return msgspec.UNSET
    model = strategy.models[declared.of]
    span = f" over {model.target.horizon} sessions" if isinstance(model, Trained) else ""
    return DeclaredConfidence(
        of=declared.of,
        means=f"how often a symbol so scored does better than the median of its date{span}",
        abstains_below=declared.abstains_below,
    )


def _declared_inputs(definition: Definition, workspace: Workspace) -> tuple[DeclaredInput, ...]:
    store = workspace.store()
    declared = []
    for name, source in sorted(definition.strategy.inputs.items()):
        view = None
        if not isinstance(source, CurrentWeights):
            view = contract_hash(source.feature, store.view)
        declared.append(DeclaredInput(name=name, source=source, view_hash=view))
    return tuple(declared)


def report_data(
    judged: Judged, holdout: Backtest | None, workspace: Workspace, origin: Origin
) -> ReportData:
    """Collect what the report and the card show; `holdout` is None for a refused study."""
    verdict = judged.verdict
    return ReportData(
        study=judged.definition.study.name,
        facts=_facts(judged.definition.study) | _belief(judged.definition.strategy),
        stage=verdict.stage,
        verdicts=verdict.verdicts,
        counts=judged.counts,
        candidate=judged.trial.parameters,
        research=_track(judged.evaluation.backtest),
        holdout=None if holdout is None else _track(holdout),
        trial_sharpes=verdict.trial_sharpes,
        hurdle=verdict.hurdle,
        logits=verdict.logits,
        provenance={
            "Notebook": _portable(judged.definition.notebook),
            "Trial": judged.trial.key,
            "Strategy cell": judged.definition.code_hash,
            "Data snapshot": workspace.snapshot.hash,
            "Gate policy": str(verdict.figures["policy_hash"]),
            "Commit": origin.git_commit,
            "Locked dependencies": origin.lock_hash,
        },
    )


def _facts(study: Study) -> dict[str, str]:
    names = universe(study.universe)
    caveat = f" {names.note}" if names.note else ""
    return {
        "Question": study.question,
        "Hypothesis": study.hypothesis,
        "Source": study.source,
        "Universe": f"{study.universe}, {len(names.symbols)} names.{caveat}",
        "Benchmark": study.benchmark.replace("_", " "),
        "Costs": f"{study.costs * 10_000:g} basis points of traded notional, all in",
        "Decides": f"{study.schedule.replace('_', ' ')} on {study.calendar}, fills on the next bar",
        "Owner": study.owner,
    }


def _belief(strategy: Strategy) -> dict[str, str]:
    """Return what card and report say of a decision's confidence; nothing if it gives none."""
    declared = _declared_confidence(strategy)
    if declared is msgspec.UNSET:
        return {}
    floor = declared.abstains_below
    rule = "it never abstains" if floor is None else f"below {floor:.0%} a symbol has no weight"
    return {"Confidence": f"of {declared.of}: {declared.means}; {rule}"}


def _track(result: Backtest) -> Track:
    return Track(days=result.dates, net=result.net, benchmark=result.benchmark)


def _portable(notebook: str) -> str:
    """Return a notebook's path as the repository knows it, not as this machine does."""
    path = Path(notebook)
    parts = path.parts
    return "/".join(parts[parts.index("notebooks") :]) if "notebooks" in parts else path.name
