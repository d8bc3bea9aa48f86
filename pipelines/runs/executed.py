"""Executed notebooks: kept truthfully, and stripped of all that differs between equal runs."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipelines.runs.parameters import cell_source

_MARKER = "papermill-error-cell-tag"  # on cells that papermill adds around a failure
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_SVG_DATE = re.compile(r"<dc:date>.*?</dc:date>", re.DOTALL)
_SVG_ID = re.compile(r"\b(?:p|m|C\d+_\d+_)[0-9a-f]{10}\b")
_KEPT_METADATA = ("kernelspec", "language_info")


def with_true_statuses(notebook: dict[str, Any], executed: set[int], failed: int | None) -> None:
    """Correct papermill's cell statuses in place by what the processes told.

    Args:
        notebook: as papermill left it.
        executed: indices of the cells that came to their end.
        failed: index of the cell that was running at the end, if it failed.
    """
    ours = [c for c in notebook["cells"] if _MARKER not in c.get("metadata", {}).get("tags", ())]
    for index, cell in enumerate(ours):
        if cell.get("cell_type") != "code" or not cell_source(cell).strip():
            continue
        status = "completed" if index in executed else "not run"
        if index == failed:
            status = "failed"
        cell.setdefault("metadata", {}).setdefault("papermill", {})["status"] = status


def in_lines(notebook: dict[str, Any]) -> None:
    """Split texts into lists of lines in place, as notebook files are kept to be readable."""
    for cell in notebook["cells"]:
        _split(cell, ["source"])
        for output in cell.get("outputs", ()):
            _split(output, ["text"])
            data = output.get("data", {})
            _split(data, [kind for kind in data if kind.startswith("text/")])


def _split(values: dict[str, Any], names: Sequence[str]) -> None:
    for name in names:
        if isinstance(values.get(name), str):
            values[name] = values[name].splitlines(keepends=True)


def strip_volatile(
    notebook: Mapping[str, Any] | bytes, *, paths: Sequence[Path | str] = ()
) -> bytes:
    """Return an executed notebook without anything that two equal runs would not share.

    Left out: time stamps, durations, execution metadata, what was written to stderr, random ids of
    cells, plots and displays, memory addresses; folders are written as `<folder>`.

    Args:
        notebook: executed notebook as JSON values or as the file's bytes.
        paths: folders of this machine whose names may stand in outputs, e.g. the workspace.

    Returns:
        Canonical JSON, one deterministic encoding, ending with a newline.
    """
    content: dict[str, Any] = (
        msgspec.json.decode(notebook) if isinstance(notebook, bytes) else dict(notebook)
    )
    scrub = _Scrubber(paths)
    cells = [
        _stripped_cell(cell, scrub)
        for cell in content["cells"]
        if _MARKER not in cell.get("metadata", {}).get("tags", ())
    ]
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"
    metadata = {
        name: value for name, value in content.get("metadata", {}).items() if name in _KEPT_METADATA
    }
    if "language_info" in metadata:
        metadata["language_info"] = {"name": metadata["language_info"].get("name", "python")}
    plain = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return msgspec.json.format(msgspec.json.encode(plain, order="deterministic"), indent=1) + b"\n"


class _Scrubber:
    """Replaces what is random or local in a text; the same thing by the same name throughout."""

    def __init__(self, paths: Sequence[Path | str]) -> None:
        folders = sorted({str(path) for path in paths} - {"", ".", "/"}, key=len, reverse=True)
        self._paths = [re.compile(re.escape(folder) + r"(?![\w.-])") for folder in folders]
        self._names: dict[str, str] = {}

    def text(self, text: str) -> str:
        """Return the text without folders, addresses, dates of plots and random ids."""
        for path in self._paths:
            text = path.sub("<folder>", text)
        text = _SVG_DATE.sub("", _ADDRESS.sub("0x0", text))
        text = _UUID.sub(lambda match: self._name("id", match[0]), text)
        if "<svg" not in text:
            return text
        return _SVG_ID.sub(lambda match: self._name("svg", match[0]), text)

    def _name(self, prefix: str, found: str) -> str:
        return self._names.setdefault(found, f"{prefix}-{len(self._names)}")

    def value(self, value: Any) -> Any:
        """Return JSON values with every text in them scrubbed."""
        match value:
            case str():
                return self.text(value)
            case list() if value and all(isinstance(item, str) for item in value):
                return self.text("".join(value))
            case list():
                return [self.value(item) for item in value]
            case dict():
                return {key: self.value(item) for key, item in value.items()}
        return value


def _stripped_cell(cell: Mapping[str, Any], scrub: _Scrubber) -> dict[str, Any]:
    tags = cell.get("metadata", {}).get("tags", ())
    stripped: dict[str, Any] = {
        "cell_type": cell["cell_type"],
        "metadata": {"tags": list(tags)} if tags else {},
        "source": cell_source(cell),
    }
    if cell["cell_type"] == "code":
        stripped["execution_count"] = cell.get("execution_count")
        stripped["outputs"] = [
            _stripped_output(output, scrub)
            for output in cell.get("outputs", ())
            if output.get("name") != "stderr"
        ]
    return stripped


def _stripped_output(output: Mapping[str, Any], scrub: _Scrubber) -> dict[str, Any]:
    kept = {name: value for name, value in output.items() if name not in ("transient", "metadata")}
    if output.get("output_type") in ("display_data", "execute_result"):
        kept["metadata"] = {}
        data = dict(kept.get("data", {}))
        data.pop("application/vnd.jupyter.widget-view+json", None)
        kept["data"] = data
    return {name: scrub.value(value) for name, value in kept.items()}
