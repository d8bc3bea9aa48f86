"""Notebook files written by tests, cell by cell."""

import json
from collections.abc import Sequence
from pathlib import Path

Cell = str | tuple[str, str]  # source, or (tag, source)


def write_notebook(path: Path, cells: Sequence[Cell]) -> Path:
    """Write a notebook of code cells and return its path."""
    written = []
    for index, cell in enumerate(cells):
        tag, source = cell if isinstance(cell, tuple) else ("", cell)
        written.append(
            {
                "cell_type": "code",
                "id": f"c{index}",
                "metadata": {"tags": [tag]} if tag else {},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
        )
    content = {"cells": written, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content))
    return path
