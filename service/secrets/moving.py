"""Moves the secrets of a .env file into Vault, and replaces one while it is in use.

1. read the file and what Vault holds at the path;
2. say per variable: new, the same already, or different (refused unless told to replace);
3. write everything in one version, by check-and-set;
4. read it back and compare by SHA-256; no value is ever shown, logged or returned.
"""

import secrets as randomness
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from runtime.errors import SecretConflict, SecretMissing
from runtime.secrets.environment import read_dotenv
from runtime.secrets.source import SCHEME, SecretKeeper, SecretRef, SecretVersion

NEW, SAME, DIFFERENT = "new", "same", "different"
TOKEN_BYTES = 32  # of a generated secret


class MovedSecret(msgspec.Struct, frozen=True, kw_only=True):
    """One variable and where it is now."""

    variable: str
    reference: str  # what takes the value's place in the environment
    state: str  # before: new, same or different


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What a move did, or would do."""

    path: str
    dry_run: bool
    version: int  # of the path, after
    verified: bool  # read back and equal by SHA-256
    secrets: tuple[MovedSecret, ...]


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that has a new value."""

    reference: str
    version: int


def migrate(
    file: Path,
    keeper: SecretKeeper,
    path: str,
    *,
    only: tuple[str, ...] = (),
    replace: bool = False,
    dry_run: bool = False,
) -> Moved:
    """Move a .env file's variables to fields of one path, all or none.

    Args:
        file: the .env file; it is left as it is.
        keeper: where they go.
        path: fields already there stay.
        only: names to move; none = all.
        replace: overwrite a field that holds something else.
        dry_run: look and say, write nothing.

    Raises:
        SecretMissing: no such file or variable, or nothing to move.
        SecretConflict: a field holds something else, or changed meanwhile; two variables would be
            one field, or one refers to a secret already; nothing was written.
    """
    wanted, path = _chosen(read_dotenv(file), only, file), _place(path)
    there = keeper.newest(path)
    _all_text(path, there)
    held = dict(there.fields) if there else {}
    found = tuple(
        MovedSecret(
            variable=name,
            reference=f"{SCHEME}{path}#{name.lower()}",
            state=_state(held.get(name.lower()), value),
        )
        for name, value in wanted.items()
    )
    blocked = [one.variable for one in found if one.state == DIFFERENT]
    if blocked and not replace and not dry_run:
        raise SecretConflict(
            f"{path} holds something else for {', '.join(blocked)};"
            " look which one is right, then repeat with --replace or leave it out with --only"
        )
    version = there.version if there else 0
    if not dry_run and any(one.state != SAME for one in found):
        fields = held | {name.lower(): value for name, value in wanted.items()}
        version = keeper.write(path, fields, expected=version)
    verified = not dry_run and _equal(keeper, path, wanted)
    if not dry_run and not verified:
        raise SecretConflict(f"{path} does not hold what was written; somebody changed it, repeat")
    return Moved(path=path, dry_run=dry_run, version=version, verified=verified, secrets=found)


def rotate(keeper: SecretKeeper, ref: SecretRef) -> Rotated:
    """Give a secret a new random value; the one before is accepted for a while longer.

    Raises:
        SecretMissing: there is nothing to replace.
        SecretConflict: somebody else changed the path meanwhile; nothing was written.
    """
    there = keeper.newest(ref.path)
    if there is None or ref.field not in there.fields:
        raise SecretMissing(f"{ref} is not there; write it first, e.g. by sluice secrets migrate")
    _all_text(ref.path, there)
    fields = dict(there.fields) | {ref.field: randomness.token_urlsafe(TOKEN_BYTES)}
    version = keeper.write(ref.path, fields, expected=there.version)
    return Rotated(reference=f"{SCHEME}{ref}", version=version)


def _chosen(found: Mapping[str, str], only: tuple[str, ...], file: Path) -> dict[str, str]:
    absent = sorted(set(only) - set(found))
    if absent:
        raise SecretMissing(f"{file} does not set {', '.join(absent)}")
    chosen = {name: value for name, value in found.items() if not only or name in only}
    if not chosen:
        raise SecretMissing(f"{file} sets nothing; there is nothing to move")
    fields = dict[str, str]()
    for name, value in chosen.items():
        if value.strip().startswith(SCHEME):
            raise SecretConflict(
                f"{file}: {name} refers to a secret already; name the others with --only"
            )
        if (other := fields.setdefault(name.lower(), name)) != name:
            raise SecretConflict(
                f"{file}: {other} and {name} would be one field; move one of them with --only and "
                "the other to another --path"
            )
    return chosen


def _place(path: str) -> str:
    """Return a path as references write it; SecretMissing if none could lead there."""
    place = path.strip("/")
    if "#" in place or not all(part.strip() for part in place.split("/")):
        raise SecretMissing(f"{path!r} is no path of a secret; write one such as sluice/live")
    return place


def _all_text(path: str, there: SecretVersion | None) -> None:
    """Refuse to write anew what cannot be written as it is."""
    if there is not None and there.untexted:
        raise SecretConflict(
            f"{path} holds fields that are no text ({', '.join(sorted(there.untexted))}), which a "
            "write would change; keep secrets at a path of their own"
        )


def _state(held: str | None, value: str) -> str:
    if held is None:
        return NEW
    return SAME if _digest(held) == _digest(value) else DIFFERENT


def _equal(keeper: SecretKeeper, path: str, wanted: Mapping[str, str]) -> bool:
    there = keeper.newest(path)
    held = there.fields if there else {}
    return all(_state(held.get(name.lower()), value) == SAME for name, value in wanted.items())


def _digest(value: str) -> bytes:
    return sha256(value.encode()).digest()
