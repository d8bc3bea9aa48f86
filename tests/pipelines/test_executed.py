"""Executed notebooks: nothing volatile is left, and statuses say what really ran."""

import copy
import json
from typing import Any

import nbformat

from pipelines.runs.executed import in_lines, strip_volatile, with_true_statuses


def executed(run: int) -> dict[str, Any]:
    """The same notebook as two runs on two machines would leave it."""
    stamp = f"2026-01-0{run}T12:00:00"
    folder = f"/somewhere/user{run}/workspace"
    uid = f"{run:08d}-1111-2222-3333-444444444444"
    svg = f"<svg><dc:date>{stamp}</dc:date><path id='m{run:010x}'/><use href='#m{run:010x}'/></svg>"
    outputs = [
        {"output_type": "stream", "name": "stderr", "text": [f"warning {stamp}"]},
        {"output_type": "stream", "name": "stdout", "text": ["Sharpe\n", f"in {folder}/runs\n"]},
        {
            "output_type": "execute_result",
            "execution_count": 1,
            "data": {
                "text/plain": f"<obj at 0x7f00000000{run:02x}>",
                "text/html": [f"id={uid} {uid}"],
            },
            "metadata": {"run": run},
        },
        {"output_type": "display_data", "data": {"image/svg+xml": svg}, "metadata": {}},
    ]
    code = {
        "cell_type": "code",
        "id": f"random{run}",
        "metadata": {
            "tags": ["strategy"],
            "papermill": {"duration": run},
            "execution": {"iopub.status.busy": stamp},
        },
        "source": ["x = 1\n", "x"],
        "execution_count": 1,
        "outputs": outputs,
    }
    text = {"cell_type": "markdown", "id": f"t{run}", "metadata": {}, "source": "# Title"}
    metadata = {
        "kernelspec": {"name": "python3"},
        "language_info": {"name": "python", "version": f"3.11.{run}"},
        "papermill": {"start_time": stamp, "output_path": folder},
    }
    return {"cells": [text, code], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def stripped(run: int) -> bytes:
    return strip_volatile(executed(run), paths=[f"/somewhere/user{run}/workspace"])


def test_two_runs_of_the_same_notebook_leave_the_same_bytes() -> None:
    assert stripped(1) == stripped(2)
    assert strip_volatile(
        json.dumps(executed(1)).encode(), paths=["/somewhere/user1/workspace"]
    ) == (stripped(1))


def test_results_plots_prose_and_tags_stay() -> None:
    cells = json.loads(stripped(1))["cells"]
    assert cells[0]["source"] == "# Title"
    assert cells[1]["metadata"] == {"tags": ["strategy"]}
    assert cells[1]["source"] == "x = 1\nx"
    texts = [output.get("text") for output in cells[1]["outputs"]]
    assert texts[0] == "Sharpe\nin <folder>/runs\n"
    assert cells[1]["outputs"][1]["data"]["text/html"] == "id=id-0 id-0"


def test_a_changed_result_changes_the_bytes() -> None:
    changed = copy.deepcopy(executed(1))
    changed["cells"][1]["outputs"][1]["text"] = ["Sharpe 3\n"]
    assert strip_volatile(changed, paths=["/somewhere/user1/workspace"]) != stripped(1)


def test_cells_that_never_ran_are_not_called_completed() -> None:
    cells = [
        {"cell_type": "code", "source": f"{i}", "metadata": {"papermill": {"status": "completed"}}}
        for i in range(3)
    ]
    marker = {
        "cell_type": "markdown",
        "source": "An Exception was encountered",
        "metadata": {"tags": ["papermill-error-cell-tag"]},
    }
    notebook: dict[str, Any] = {"cells": [marker, *cells]}
    with_true_statuses(notebook, {0}, 1)
    assert [c["metadata"]["papermill"]["status"] for c in cells] == [
        "completed",
        "failed",
        "not run",
    ]


def test_texts_are_kept_in_lines_as_nbformat_keeps_them() -> None:
    text = {"text/plain": "a\nb", "text/html": "<p>\n", "image/png": "AAAA\nBBBB"}
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "one\ntwo\n"},
        {"output_type": "display_data", "metadata": {}, "data": dict(text)},
        {"output_type": "error", "ename": "E", "evalue": "x\ny", "traceback": ["a\nb"]},
    ]
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "# A\n\nb"},
        {
            "cell_type": "code",
            "id": "c",
            "metadata": {},
            "source": "x = 1\nx",
            "execution_count": 1,
            "outputs": outputs,
        },
    ]
    notebook: dict[str, Any] = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    stock = json.loads(nbformat.writes(nbformat.from_dict(copy.deepcopy(notebook))))
    in_lines(notebook)
    assert notebook == stock
