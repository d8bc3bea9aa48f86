"""Proves a bundle in a process of its own: the process that answers the web never runs a graph.

The child verifies signature and files, loads the graph and decides the golden rows again, then
hands back the facts. The service so keeps neither onnxruntime nor polars in memory, and a graph
that crashes its runtime takes down the child alone.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from runtime.bundles.contract import Manifest, Signature, Stage
from runtime.bundles.signing import TrustedKeys
from runtime.decoding import from_json
from runtime.errors import BundleRefused
from service.web.answers import CellAnswer

PATIENCE = 120.0  # seconds a proof may take
REFUSED = 3  # exit status of a child that refuses the bundle


class Proved(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a bundle that verified completely."""

    hash: str  # SHA-256 of the manifest, hex
    manifest: Manifest
    signature: Signature
    cell: CellAnswer

    @property
    def stage(self) -> Stage:
        """Return what the signature allows."""
        return self.signature.stage

    @property
    def version(self) -> int:
        """Return the monotonic version of the promotion."""
        return self.signature.version


class _Question(msgspec.Struct, frozen=True):
    folder: str
    trusted: dict[str, str]


def prove_here(folder: Path, trusted: TrustedKeys, *, limited: bool = False) -> Proved:
    """Prove a bundle in this process; BundleRefused names the file that does not verify.

    Args:
        folder: of the bundle.
        trusted: signer -> public key, hex.
        limited: this process is a limited child already and may look at the graph itself.
    """
    from runtime.bundles.bundle import load_bundle, verify_bundle
    from runtime.bundles.proving import prove_apart as prove_graph_apart
    from runtime.bundles.proving import prove_within

    load_bundle(folder, trusted, prove=prove_within if limited else prove_graph_apart)
    verified = verify_bundle(folder, trusted)
    return Proved(
        hash=verified.hash,
        manifest=verified.manifest,
        signature=verified.signature,
        cell=deciding_cell(verified.manifest, verified.files["notebook.ipynb"]),
    )


def prove_apart(folder: Path, trusted: TrustedKeys) -> Proved:
    """Prove a bundle in a child process.

    Raises:
        BundleRefused: names the file that does not verify, or says how the child died.
    """
    question = msgspec.json.encode(_Question(str(folder), dict(trusted)))
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", "service.trading.proof"],
            input=question,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise BundleRefused(f"graph.onnx: was not proved within {PATIENCE:.0f} s") from None
    if child.returncode == REFUSED:
        raise BundleRefused(child.stderr.decode())
    if child.returncode != 0:
        last = (child.stderr.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
        raise BundleRefused(f"graph.onnx: its proof ended with {child.returncode}: {last}")
    return from_json(child.stdout, Proved)


def deciding_cell(manifest: Manifest, notebook: bytes) -> CellAnswer:
    """Return the source of the cell that decides, and the heading it stands under.

    Raises:
        BundleRefused: the notebook cannot be read or has no such code cell.
    """
    index = manifest.decide_cell
    try:
        cells: list[Any] = msgspec.json.decode(notebook)["cells"]
        cell = cells[index]
        if index < 0 or cell["cell_type"] != "code":
            raise IndexError(index)
        headings = (_heading(one) for one in reversed(cells[:index]))
        return CellAnswer(
            notebook=manifest.notebook,
            notebook_hash=manifest.notebook_hash,
            cell=index,
            source=_text(cell["source"]),
            heading=next((heading for heading in headings if heading), ""),
        )
    except (msgspec.DecodeError, KeyError, IndexError, TypeError) as error:
        raise BundleRefused(
            f"notebook.ipynb: has no code cell {index}, which the manifest says decides"
        ) from error


def _text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def _heading(cell: dict[str, Any]) -> str:
    if cell.get("cell_type") != "markdown":
        return ""
    lines = _text(cell.get("source", "")).splitlines()
    return next((ln.lstrip("# ").strip() for ln in reversed(lines) if ln.startswith("#")), "")


def main() -> int:
    """Answer one question from stdin on stdout; returns the exit status."""
    from runtime.bundles.proving import limit_this_process

    question = from_json(sys.stdin.buffer.read(), _Question)
    limit_this_process()
    try:
        proved = prove_here(Path(question.folder), question.trusted, limited=True)
    except BundleRefused as error:
        sys.stderr.write(str(error))
        return REFUSED
    sys.stdout.buffer.write(msgspec.json.encode(proved))
    return 0


if __name__ == "__main__":
    sys.exit(main())
