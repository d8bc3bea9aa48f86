"""A warm worker of a sweep: imports and market data loaded once, each trial in a fresh namespace.

Started by `pipelines.sweeps.pool` as `python -m pipelines.sweeps.worker DESCRIPTOR`, a new
interpreter: nothing is forked after polars or onnxruntime have started threads.
"""

import random
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from featurestore.errors import PlatformError
from featurestore.snapshots import Snapshot
from pipelines.definition import Definition, load_definition
from pipelines.door import answered_for
from pipelines.errors import NotebookInvalid, StrategyInvalid, TrialPruned
from pipelines.evaluate import closing, evaluate
from pipelines.runs.processes import die_with_parent
from pipelines.sweeps.messages import (
    Outcome,
    Ready,
    Refused,
    Start,
    Task,
    receive_task,
    send,
)
from pipelines.workspace import Workspace


def main() -> None:
    """Serve tasks until the sweep closes its end."""
    die_with_parent()
    connection = Connection(int(sys.argv[1]))
    start = receive_task(connection)
    assert isinstance(start, Start)
    workspace = Workspace(
        Path(start.folder),
        lake_url=start.lake_url,
        snapshot=Snapshot(versions=start.versions, hash=start.snapshot_hash),
        run=start.run,
    )
    try:
        definition = load_definition(start.notebook, {})
        workspace.research_panel(definition.study)
    except PlatformError as error:
        send(connection, Refused(error=type(error).__name__, text=str(error)))
        return
    send(connection, _ready(definition))
    while True:
        try:
            task = receive_task(connection)
        except EOFError:
            return
        assert isinstance(task, Task)
        send(connection, _outcome(task, start.notebook, workspace, definition))


def _ready(definition: Definition) -> Ready:
    study = definition.study
    return Ready(
        declaration=study.declaration(),
        search_space={name: list(values) for name, values in study.search_space.items()},
        code_hash=definition.code_hash,
        shape_hash=definition.shape_hash,
    )


def _outcome(task: Task, notebook: str, workspace: Workspace, first: Definition) -> Outcome:
    """Evaluate one configuration; whatever it raises becomes its reason."""
    # Global generators start equal in every trial, so no trial depends on those before it.
    random.seed(0)
    np.random.seed(0)
    try:
        return _evaluated(task, notebook, workspace, first)
    except TrialPruned as pruned:
        return Outcome(number=task.number, status="pruned", reason=str(pruned) or "pruned")
    except PlatformError as error:
        return Outcome(number=task.number, status="failed", reason=str(error))


def _evaluated(task: Task, notebook: str, workspace: Workspace, first: Definition) -> Outcome:
    try:
        definition = load_definition(notebook, task.parameters)
        if definition.study.declaration() != first.study.declaration():
            raise NotebookInvalid(
                "the study changes with the parameters; one study has one declaration"
            )
        if dict(definition.strategy.parameters) != task.parameters:
            raise NotebookInvalid(
                f"the strategy was built for {dict(definition.strategy.parameters)}, but the sweep "
                f"set {task.parameters}; pass every parameter to Strategy(parameters=...)"
            )
        with answered_for():  # the sweep has opened the trial
            evaluation = evaluate(definition, workspace)
    except PlatformError:
        raise
    except Exception as error:  # a notebook's own code may raise anything
        raise StrategyInvalid(f"{type(error).__name__}: {error}") from error
    return Outcome.of(task.number, closing(evaluation.backtest))


if __name__ == "__main__":
    main()
