"""Ed25519 signatures over bundles: who promoted what, when, as which version."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from runtime.bundles.contract import Signature, Stage, StopBands, canonical
from runtime.decoding import from_json
from runtime.errors import BundleRefused, KeyUnusable

KEY_BYTES = 32  # Ed25519, RFC 8032
_HEX_64 = re.compile(r"[0-9a-f]{64}")
_HEX_128 = re.compile(r"[0-9a-f]{128}")
_CONTEXT = b"sluice bundle signature 1\n"  # a signature for this use counts for no other

TrustedKeys = Mapping[str, str]  # signer -> public key, hex


@dataclass(frozen=True, slots=True, repr=False)
class Signer:
    """A named private key; it never appears in a log, a repr or a bundle."""

    name: str
    key: Ed25519PrivateKey

    @property
    def public_key(self) -> str:
        """Return the public half, hex."""
        return self.key.public_key().public_bytes_raw().hex()

    def sign(
        self,
        manifest_hash: str,
        *,
        signed_at: datetime,
        version: int,
        stage: Stage,
        by: str = "",
        why: str = "",
        bands: StopBands | None = None,
    ) -> Signature:
        """Sign a manifest and the facts of its promotion.

        Args:
            manifest_hash: SHA-256 of the manifest's bytes, hex.
            signed_at: UTC, from the caller's clock.
            version: monotonic per study, at least 1.
            stage: what the signer allows the bundle to do.
            by: who promotes.
            why: in words.
            bands: what takes it out of its seat again.
        """
        if signed_at.tzinfo is None or version < 1:
            raise ValueError(f"need a time zone and a version >= 1, was {signed_at}, {version}")
        draft = Signature(
            manifest_hash=manifest_hash,
            signer=self.name,
            signed_at=signed_at.isoformat(),
            version=version,
            stage=stage,
            public_key=self.public_key,
            signature="",
            by=by,
            why=why,
            bands=bands,
        )
        signature = self.key.sign(signed_bytes(draft)).hex()
        return msgspec.structs.replace(draft, signature=signature)


def signed_bytes(signature: Signature) -> bytes:
    """Return what is signed: every field of the signature file but the signature itself."""
    return _CONTEXT + canonical(msgspec.structs.replace(signature, signature=""))


def verify_signature(data: bytes, trusted: TrustedKeys) -> Signature:
    """Read a signature file and check it against the keys we trust.

    Args:
        data: the file's bytes; only their canonical form is accepted.
        trusted: signer -> public key, hex.

    Raises:
        BundleRefused: malformed, an unknown signer, another key, or not signed by it.
    """
    try:
        signature = from_json(data, Signature)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleRefused(f"signature: cannot be read ({error})") from error
    if canonical(signature) != data or not (
        _HEX_64.fullmatch(signature.manifest_hash) and _HEX_128.fullmatch(signature.signature)
    ):
        raise BundleRefused("signature: is not in canonical form, it was altered after signing")
    if signature.signer not in trusted:
        known = ", ".join(sorted(trusted)) or "nobody"
        raise BundleRefused(f"signature: signer {signature.signer!r} is unknown; trusted: {known}")
    if trusted[signature.signer] != signature.public_key:
        raise BundleRefused(f"signature: {signature.signer!r} is trusted with another public key")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.public_key))
        key.verify(bytes.fromhex(signature.signature), signed_bytes(signature))
    except (InvalidSignature, ValueError):
        raise BundleRefused(
            f"signature: was not made by {signature.signer!r} over these facts"
        ) from None
    return signature


def create_key(folder: Path, name: str, secret: bytes) -> Signer:
    """Write a new signing key and trust its public half.

    Args:
        folder: receives signing.key (mode 0600) and, added to or new, trusted.json.
        name: who signs with it.
        secret: 32 bytes from a source of true randomness, e.g. `secrets.token_bytes(32)`.

    Raises:
        KeyUnusable: a key is there already, or `secret` has another length.
    """
    if len(secret) != KEY_BYTES:
        raise KeyUnusable(f"an Ed25519 key has {KEY_BYTES} bytes, was given {len(secret)}")
    signer = Signer(name, Ed25519PrivateKey.from_private_bytes(secret))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "signing.key"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyUnusable(f"{path} exists already; it is never overwritten") from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        json.dump({"signer": name, "secret": secret.hex()}, file)
        file.flush()
        os.fsync(file.fileno())
    trusted_path = folder / "trusted.json"
    trusted = dict(load_trusted(trusted_path)) if trusted_path.exists() else {}
    trusted[name] = signer.public_key
    trusted_path.write_text(json.dumps(trusted, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return signer


def load_signer(path: Path) -> Signer:
    """Read a signing key; KeyUnusable if it is missing, malformed or readable by others."""
    try:
        if path.stat().st_mode & 0o077:
            raise KeyUnusable(f"{path} can be read by others; run: chmod 600 {path}")
        facts = json.loads(path.read_text(encoding="ascii"))
        return Signer(
            str(facts["signer"]),
            Ed25519PrivateKey.from_private_bytes(bytes.fromhex(facts["secret"])),
        )
    except FileNotFoundError:
        raise KeyUnusable(f"{path} does not exist; create a signing key first") from None
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError):
        raise KeyUnusable(f"{path} does not hold a signing key") from None


def load_trusted(path: Path) -> TrustedKeys:
    """Read signer -> public key from a JSON file; KeyUnusable if it is missing or malformed."""
    try:
        return from_json(path.read_bytes(), dict[str, str])
    except FileNotFoundError:
        raise KeyUnusable(f"{path} does not exist; it lists the signers to trust") from None
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be read: {error.strerror}; name a file") from None
    except msgspec.DecodeError as error:
        raise KeyUnusable(f"{path} is not a list of trusted signers: {error}") from error
