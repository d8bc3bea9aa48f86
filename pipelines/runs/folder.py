"""The folder of a run, and files that are written whole or not at all."""

from pathlib import Path


def new_folder(runs: Path, name: str) -> Path:
    """Make a folder that did not exist; runs of the same second are numbered."""
    runs.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def write_whole(path: Path, content: bytes) -> None:
    """Write a file by rename: readers see the old content or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)
