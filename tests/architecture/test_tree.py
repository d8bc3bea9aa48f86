"""The tree itself: the floors exist, and no tracked file knows a machine or a package registry."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIXED_BY_THE_DESIGN = (
    *("featurestore", "runtime", "pipelines", "service"),
    *("notebooks", "hub", "helm", "tests", "benchmarks"),
)
# Written in two parts, so that this file does not find itself.
REGISTRY_HOSTS = tuple(
    f"{name}.{top}"
    for name, top in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("anaconda", "org"),
        ("crates", "io"),
        ("golang", "org/"),
        ("deb.debian", "org"),
        ("rubygems", "org"),
    )
)
# A path below someone's home, or below the folder of one machine; not a URL's path.
MACHINE_PATH = re.compile(
    r"(?<![\w.:/}$*-])(?:/(?:home|Users|work|root|mnt)/|[A-Z]:\\Users\\)[\w.-]+"
)


def tracked() -> list[Path]:
    """Files that git tracks and that are there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts() -> list[tuple[str, str]]:
    """Name and content of every tracked text file."""
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            found.append((str(path.relative_to(ROOT)), content.decode("utf-8", "replace")))
    return found


@pytest.mark.parametrize("folder", FIXED_BY_THE_DESIGN)
def test_a_top_level_folder_of_the_design_is_tracked(folder):
    assert any(path.is_relative_to(ROOT / folder) for path in tracked())


def test_no_tracked_text_file_names_a_package_registry():
    named = [(name, host) for name, text in texts() for host in REGISTRY_HOSTS if host in text]
    assert named == []


def test_no_tracked_text_file_holds_an_absolute_machine_path():
    held = [
        (name, found.group()) for name, text in texts() for found in MACHINE_PATH.finditer(text)
    ]
    assert held == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see " + "/".join(["", "home", "ann", "x"]), True),
        ("'" + "/".join(["", "work", "main"]) + "'", True),
        ("C:" + "\\Users\\ann", True),
        ("http://127.0.0.1:8000/" + "home/ann", False),
        ("sqlite:////path/file.db", False),
        ("{root}/" + "home/x", False),
    ],
)
def test_machine_paths_are_told_from_other_paths(text, found):
    assert bool(MACHINE_PATH.search(text)) is found


def test_kinds_are_decoded_through_the_one_door_that_threads_may_share():
    decodes = re.compile(r"msgspec\.convert\(|msgspec\.\w+\.decode\([^\n]*type=|Decoder\(")
    door = "runtime/decoding.py"
    past_it = [
        name
        for name, text in texts()
        if name.startswith(("runtime/", "pipelines/", "service/")) and name.endswith(".py")
        if name != door and decodes.search(text)
    ]
    assert past_it == []


def test_locked_requirements_name_hashes_and_no_place():
    files = sorted((ROOT / "requirements").glob("*.txt"))
    assert files
    for path in files:
        for line in path.read_text().splitlines():
            assert "://" not in line, f"{path.name}: {line}"
            if line.startswith("-"):
                pytest.fail(f"{path.name}: an option in a lock file: {line}")
        assert path.read_text().count("--hash=sha256:") > 0


def test_the_node_lock_names_hashes_and_no_place():
    packages = json.loads((ROOT / "hub" / "package-lock.json").read_text())["packages"]
    assert len(packages) > 1
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name
