"""Writes bundles, and verifies and loads them: nothing unsigned, altered or surplus gets through.

Order of verification: signature file and signer, manifest, names of the files, hash of each file,
graph, golden rows. The first failure is a refusal that names the file and the reason.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from runtime.bundles.archive import MAX_ARCHIVE, MAX_FILE_BYTES, pack_files, unpack_files
from runtime.bundles.contract import (
    SCHEMA_VERSION,
    Manifest,
    Signature,
    Stage,
    StopBands,
    canonical,
    manifest_hash,
)
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import CurrentWeights, Input, Window
from runtime.bundles.proving import Question, open_graph, prove_apart
from runtime.bundles.signing import Signer, TrustedKeys, verify_signature
from runtime.decoding import from_json
from runtime.errors import BundleRefused
from runtime.scheduling.schedule import SCHEDULES

MANIFEST = "manifest.json"
SIGNATURE = "signature"
CONTENT = (  # every file of a bundle that the manifest hashes
    "graph.onnx",
    "golden.parquet",
    "notebook.ipynb",
    "report.html",
    "card.md",
    "returns.parquet",
)
ARCHIVE_SUFFIX = ".tar.zst"
_EVERY = frozenset((*CONTENT, MANIFEST, SIGNATURE))  # names in a bundle, no more and no less


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBundle:
    """A bundle whose signature, names and hashes hold; its graph has not been run."""

    location: Path
    hash: str  # SHA-256 of the manifest, hex
    manifest: Manifest
    signature: Signature
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedBundle:
    """A bundle that verified completely and is ready to decide."""

    location: Path
    hash: str  # SHA-256 of the manifest, hex
    manifest: Manifest
    signature: Signature
    session: DecisionSession

    @property
    def inputs(self) -> dict[str, Input]:
        """Return the declared inputs by name."""
        return {declared.name: declared.source for declared in self.manifest.inputs}

    @property
    def stage(self) -> Stage:
        """Return what the signature allows: staging bundles trade on paper venues only."""
        return self.signature.stage

    @property
    def version(self) -> int:
        """Return the monotonic version of the promotion."""
        return self.signature.version


def write_bundle(
    root: Path,
    draft: Manifest,
    files: Mapping[str, bytes],
    *,
    signer: Signer,
    signed_at: datetime,
    version: int,
    stage: Stage | None = None,
    by: str = "",
    why: str = "",
) -> Path:
    """Write <root>/<hash>/ and <root>/<hash>.tar.zst and return the folder.

    A bundle that is there already keeps its bytes and gets the new signature.

    Args:
        root: folder of all bundles.
        draft: the manifest; its `files` are filled in here.
        files: content by name, exactly `CONTENT`.
        signer: who promotes.
        signed_at: UTC, from the caller's clock.
        version: monotonic per study.
        stage: what the signer allows, by default what the manifest says.
        by: who promotes.
        why: in words.

    Raises:
        BundleRefused: files are missing or surplus, or a folder of that name holds other bytes.
    """
    _check_names(files.keys(), frozenset(CONTENT))
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    manifest = msgspec.structs.replace(draft, files=hashes)
    name = manifest_hash(manifest)
    signature = signer.sign(
        name,
        signed_at=signed_at,
        version=version,
        stage=stage or manifest.stage,
        by=by,
        why=why,
    )
    content = {**files, MANIFEST: canonical(manifest), SIGNATURE: canonical(signature)}
    root.mkdir(parents=True, exist_ok=True)
    folder = root / name
    if folder.exists():
        _resign(folder, content)
    else:
        _write_folder(folder, content)
    _replace(root / (name + ARCHIVE_SUFFIX), pack_files(name, content))
    return folder


def promote_bundle(
    folder: Path,
    trusted: TrustedKeys,
    signer: Signer,
    *,
    signed_at: datetime,
    version: int,
    stage: Stage,
    by: str,
    why: str,
    bands: StopBands | None = None,
) -> Signature:
    """Sign the same bytes anew and return the signature; folder and archive then carry it.

    Args:
        folder: <root>/<hash> of a bundle that verifies.
        trusted: signer -> public key, hex.
        signer: whose key signs.
        signed_at: UTC, from the caller's clock.
        version: monotonic per study.
        stage: what is allowed from now on, never more than the gates allowed.
        by: who promotes.
        why: in words.
        bands: what takes it out of its seat again.

    Raises:
        BundleRefused: it does not verify, or the gates did not allow the stage.
    """
    verified = verify_bundle(folder, trusted)
    _check_stage(stage, verified.manifest)
    signature = signer.sign(
        verified.hash,
        signed_at=signed_at,
        version=version,
        stage=stage,
        by=by,
        why=why,
        bands=bands,
    )
    content = {**verified.files, SIGNATURE: canonical(signature)}
    _replace(folder / SIGNATURE, content[SIGNATURE])
    _replace(folder.with_name(folder.name + ARCHIVE_SUFFIX), pack_files(verified.hash, content))
    return signature


def verify_bundle(
    path: Path, trusted: TrustedKeys, promotion: Signature | None = None
) -> VerifiedBundle:
    """Check everything about a bundle that can be checked without running it.

    Whether it is the one that should decide is the registry's word: it names bundles by hash and
    keeps the signature of each promotion, and activates no version of a study that is not newer
    than every one before.

    Args:
        path: its folder, or its .tar.zst.
        trusted: signer -> public key, hex.
        promotion: the signature that counts, as the registry keeps it; None = the folder's own.

    Raises:
        BundleRefused: the text begins with the offending file's name.
    """
    folder, files = _read(path)
    signature = verify_signature(files[SIGNATURE], trusted)
    if promotion is not None:  # an older or newer signature in the folder changes nothing
        signature = verify_signature(canonical(promotion), trusted)
    found = hashlib.sha256(files[MANIFEST]).hexdigest()
    if found != signature.manifest_hash:
        raise BundleRefused(
            f"{MANIFEST}: its hash is {found}, signed was {signature.manifest_hash}"
        )
    manifest = _decode_manifest(files[MANIFEST])
    _check_names(manifest.files.keys(), frozenset(CONTENT))
    for name, expected in manifest.files.items():
        actual = hashlib.sha256(files[name]).hexdigest()
        if actual != expected:
            raise BundleRefused(f"{name}: its hash is {actual}, the manifest says {expected}")
    if folder != found:
        raise BundleRefused(f"{MANIFEST}: belongs to bundle {found}, the folder says {folder}")
    _check_stage(signature.stage, manifest)
    return VerifiedBundle(
        location=path, hash=found, manifest=manifest, signature=signature, files=files
    )


def _check_stage(stage: Stage, manifest: Manifest) -> None:
    if stage == "production" and manifest.stage != "production":
        raise BundleRefused(f"{SIGNATURE}: allows production, the gates allowed {manifest.stage}")


def load_bundle(
    path: Path,
    trusted: TrustedKeys,
    promotion: Signature | None = None,
    *,
    prove: Callable[[Question], None] = prove_apart,
) -> LoadedBundle:
    """Verify a bundle, load its graph and replay its golden rows; see `verify_bundle`.

    Args:
        path: its folder, or its .tar.zst.
        trusted: signer -> public key, hex.
        promotion: the signature that counts, as the registry keeps it; None = the folder's own.
        prove: takes the first look at the graph, before anything is loaded here.

    Raises:
        BundleRefused: the text begins with the offending file's name.
    """
    verified = verify_bundle(path, trusted, promotion)
    question = Question(
        graph=verified.files["graph.onnx"],
        golden=verified.files["golden.parquet"],
        ranks={
            entry.name: 2 if isinstance(entry.source, Window) else 1
            for entry in verified.manifest.inputs
        },
        symbols=len(verified.manifest.symbols),
        confident=verified.manifest.confidence is not msgspec.UNSET,
        abstains_below=verified.manifest.abstains_below,
    )
    prove(question)
    return LoadedBundle(
        location=path,
        hash=verified.hash,
        manifest=verified.manifest,
        signature=verified.signature,
        session=open_graph(question),
    )


def _decode_manifest(data: bytes) -> Manifest:
    try:
        manifest = from_json(data, Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleRefused(f"{MANIFEST}: cannot be read ({error})") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise BundleRefused(
            f"{MANIFEST}: schema version {manifest.schema_version}, "
            f"this runtime reads {SCHEMA_VERSION}"
        )
    if canonical(manifest) != data:
        raise BundleRefused(f"{MANIFEST}: is not in canonical form or has unknown fields")
    if not manifest.symbols or len(set(manifest.symbols)) != len(manifest.symbols):
        raise BundleRefused(f"{MANIFEST}: symbols must be present and unique")
    if manifest.schedule not in SCHEDULES:
        raise BundleRefused(f"{MANIFEST}: no schedule is called {manifest.schedule!r}")
    names = [declared.name for declared in manifest.inputs]
    if len(set(names)) != len(names):
        raise BundleRefused(f"{MANIFEST}: two inputs share a name")
    for declared in manifest.inputs:
        if declared.view_hash is None and not isinstance(declared.source, CurrentWeights):
            raise BundleRefused(f"{MANIFEST}: input {declared.name} names no view version")
    return manifest


def _check_names(found: Iterable[str], expected: frozenset[str]) -> None:
    names = frozenset(found)
    for name in sorted(expected - names):
        raise BundleRefused(f"{name}: is missing")
    for name in sorted(names - expected):
        raise BundleRefused(f"{name}: does not belong to a bundle")


def _read(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return folder name and content of exactly a bundle's files; sizes and names come first."""
    try:
        if path.name.endswith(ARCHIVE_SUFFIX):
            data = _bounded(path, MAX_ARCHIVE)
            return unpack_files(data, path.name, lambda names: _check_names(names, _EVERY))
        if not path.is_dir():
            raise BundleRefused(
                f"{path.name}: is neither a bundle folder nor a {ARCHIVE_SUFFIX} file"
            )
        entries = {entry.name: entry for entry in sorted(path.iterdir())}
        _check_names(entries, _EVERY)
        for name, entry in entries.items():
            if entry.is_symlink():
                raise BundleRefused(f"{name}: is not a plain file")
        files = {name: _bounded(entry, MAX_FILE_BYTES) for name, entry in entries.items()}
    except OSError as error:
        raise BundleRefused(f"{path.name}: cannot be read ({error.strerror})") from error
    return path.resolve().name, files


def _bounded(path: Path, limit: int) -> bytes:
    """Return a plain file's bytes; one that is larger than `limit` is never read whole."""
    if not path.is_file():
        raise BundleRefused(f"{path.name}: is not a plain file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(limit + 1) if size <= limit else b""
    if max(size, len(data)) > limit:
        raise BundleRefused(f"{path.name}: is larger than {limit} bytes")
    return data


def _resign(folder: Path, content: Mapping[str, bytes]) -> None:
    for name, data in content.items():
        file = folder / name
        if name != SIGNATURE and (not file.is_file() or file.read_bytes() != data):
            raise BundleRefused(f"{name}: {folder} exists and holds other bytes; move it away")
    _replace(folder / SIGNATURE, content[SIGNATURE])


def _write_folder(folder: Path, content: Mapping[str, bytes]) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name, data in sorted(content.items()):
        _replace(partial / name, data)
    partial.rename(folder)


def _replace(path: Path, data: bytes) -> None:
    """Write a file durably and in one step: readers see the old bytes or the new ones."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
