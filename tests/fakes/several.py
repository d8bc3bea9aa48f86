"""Several small bundles in one account: different graphs, schedules and universes, one market."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np

from runtime.bundles.bundle import LoadedBundle, load_bundle
from runtime.bundles.golden import GoldenRow, golden_bytes
from runtime.bundles.inference import DecisionSession
from runtime.bundles.signing import Signer, load_signer, load_trusted
from runtime.desk import Desk
from runtime.joint.identity import Joint, JointLog
from runtime.joint.members import Member, joint_bundle, joint_of
from runtime.joint.shares import Shares
from tests.fakes.graphs import (
    SYMBOLS,
    WINDOW,
    tilt_bundle,
    tilt_files,
    tilt_graph,
    tilt_manifest,
    tilt_signer,
)


def signer_in(folder: Path) -> Signer:
    """Return the signer of a folder, made on first use."""
    keys = folder / "keys"
    return load_signer(keys / "signing.key") if keys.exists() else tilt_signer(keys)


def tilted(
    folder: Path,
    study: str,
    *,
    tilt: float = 8.0,
    inertia: float = 0.1,
    schedule: str = "week_end",
    symbols: Sequence[str] = SYMBOLS,
    version: int = 1,
    **changes: object,
) -> LoadedBundle:
    """Sign and load a bundle of its own graph; a negative tilt leans towards what fell."""
    graph = tilt_graph(tilt=tilt, inertia=inertia)
    session, random = DecisionSession(graph), np.random.default_rng(5)
    rows = []
    for day in range(3):
        inputs = {
            "prices": random.uniform(50, 150, (len(symbols), WINDOW)),
            "current": np.full(len(symbols), 0.5 / len(symbols)),
        }
        decided = session.run(inputs)
        at = f"2016-0{day + 1}-29T21:00:00+00:00"
        rows.append(GoldenRow(at=at, inputs=inputs, score=decided.score, weight=decided.weight))
    files = tilt_files(symbols) | {"graph.onnx": graph, "golden.parquet": golden_bytes(rows)}
    manifest = msgspec.structs.replace(
        tilt_manifest(symbols, schedule=schedule), study=study, **changes
    )
    signer = signer_in(folder)
    path = tilt_bundle(folder / "bundles", signer, manifest=manifest, files=files, version=version)
    return load_bundle(path, load_trusted(folder / "keys" / "trusted.json"))


def members(
    bundles: Mapping[str, LoadedBundle], fractions: Mapping[str, str], **changes: object
) -> tuple[Member, ...]:
    """Return members by role."""
    return tuple(
        Member(role=role, bundle=bundle, fraction=Decimal(fractions[role]), **changes)  # type: ignore[arg-type]
        for role, bundle in bundles.items()
    )


def joint_desk(
    desk: Desk, of: tuple[Member, ...], *, max_turnover: str | None = None
) -> tuple[Desk, Joint]:
    """Return a desk that these members trade together."""
    joint = joint_of(of, None if max_turnover is None else Decimal(max_turnover))
    shares = desk.shares or Shares(desk.journal, JointLog(desk.journal.engine))
    changed = replace(
        desk,
        bundle=joint_bundle(joint, of),
        members=of,
        joint=joint,
        shares=shares,
        approved=lambda: joint.hash,
    )
    return changed, joint
