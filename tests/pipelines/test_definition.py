"""Loading a notebook's definition: three cells, closed parameters, one hash for file and kernel."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.definition import code_hash, definition_of, load_definition
from pipelines.errors import NotebookInvalid, ParameterInvalid, StrategyInvalid, StudyInvalid
from pipelines.purity import check_purity
from tests.fakes.notebooks import STRATEGY, STUDY, code_cell, tiny_notebook, write_notebook


def test_only_the_tagged_cells_are_run(tmp_path):
    loaded = load_definition(tiny_notebook(tmp_path / "tiny.ipynb"), {})
    assert loaded.study.name == "tiny"
    assert loaded.strategy.parameters == {"lookback": 21, "top": 3}
    assert loaded.decide_cell == 3
    check_purity(loaded.strategy)


def test_parameters_replace_the_defaults(tmp_path):
    path = tiny_notebook(tmp_path / "tiny.ipynb")
    loaded = load_definition(path, {"lookback": 63})
    assert loaded.strategy.parameters == {"lookback": 63, "top": 3}
    assert loaded.strategy.longest_window == 64
    assert loaded.code_hash == load_definition(path, {}).code_hash


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"lokback": 63}, "did you mean lookback"),
        ({"lookback": 63.5}, "lookback must be int"),
        ({"top = __import__('os')": 1}, "names are never run as code"),
    ],
)
def test_a_parameter_that_is_not_declared_or_of_another_type_is_refused(
    tmp_path, parameters, words
):
    with pytest.raises(ParameterInvalid, match=words):
        load_definition(tiny_notebook(tmp_path / "tiny.ipynb"), parameters)


def test_a_kernel_and_the_file_give_the_same_code_hash(tmp_path):
    loaded = load_definition(tiny_notebook(tmp_path / "tiny.ipynb"), {})
    live = definition_of(loaded.study, loaded.strategy)
    assert live.code_hash == loaded.code_hash == code_hash(STRATEGY)
    assert code_hash(STRATEGY + "  \n\n") == code_hash(STRATEGY)
    assert code_hash(STRATEGY.replace("- 1.0", "- 2.0")) != code_hash(STRATEGY)


def test_two_notebooks_of_one_name_keep_their_own_source(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = load_definition(tiny_notebook(tmp_path / "a" / "tiny.ipynb"), {})
    other = STRATEGY.replace("- 1.0", "- 2.0")
    second = load_definition(tiny_notebook(tmp_path / "b" / "tiny.ipynb", strategy=other), {})
    assert definition_of(second.study, second.strategy).code_hash == second.code_hash
    assert definition_of(first.study, first.strategy).code_hash == first.code_hash


@pytest.mark.parametrize("tag", ["study", "strategy"])
def test_a_missing_or_repeated_tag_is_named(tmp_path, tag):
    other = {"study": "strategy", "strategy": "study"}[tag]
    path = tmp_path / "tiny.ipynb"
    write_notebook(path, code_cell("a = 1", "parameters"), code_cell("b = 1", other))
    with pytest.raises(NotebookInvalid, match=f"tagged '{tag}', found 0"):
        load_definition(path, {})
    cells = [code_cell("b = 1", t) for t in (other, tag, tag)]
    write_notebook(path, code_cell("a = 1", "parameters"), *cells)
    with pytest.raises(NotebookInvalid, match=f"tagged '{tag}', found 2"):
        load_definition(path, {})


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"study": "study = 3"}, NotebookInvalid, "must leave a Study"),
        ({"strategy": "strategy = 3"}, NotebookInvalid, "must leave a Strategy"),
        ({"strategy": "1 / 0"}, NotebookInvalid, "tiny.ipynb cell 3: ZeroDivisionError"),
        ({"strategy": "def f(:"}, NotebookInvalid, "tiny.ipynb cell 3, line 1"),
        ({"strategy": "strategy = helper()"}, StrategyInvalid, "must stand alone"),
        (
            {"strategy": STRATEGY.replace("lookback + 1", "lookback + 1, lag=-1")},
            StrategyInvalid,
            "looks 1 bar",
        ),
        ({"study": STUDY.replace("(21, 63)", "()")}, StudyInvalid, "lookback is empty"),
    ],
)
def test_what_is_wrong_with_a_cell_is_told_in_one_sentence(tmp_path, changes, error, words):
    with pytest.raises(error, match=words):
        load_definition(tiny_notebook(tmp_path / "tiny.ipynb", **changes), {})


def test_a_file_that_is_no_notebook_is_refused(tmp_path):
    path = tmp_path / "text.ipynb"
    path.write_text("hello")
    with pytest.raises(NotebookInvalid, match="is not a notebook"):
        load_definition(path, {})
    with pytest.raises(NotebookInvalid, match="there is no notebook"):
        load_definition(tmp_path / "none.ipynb", {})


def in_kernel(**globals_):
    """The strategy as a kernel would hold it after other cells ran."""
    import linecache

    source = globals_.pop("source", STRATEGY)
    space = {"lookback": 21, "top": 3} | globals_
    exec(STUDY, space)
    name = f"kernel-cell-{abs(hash(source))}"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), space)
    return space


def test_a_value_from_another_cell_is_a_hidden_parameter_and_refused():
    hidden = in_kernel(source=STRATEGY.replace("- 1.0", "- threshold"), threshold=0.5)
    with pytest.raises(StrategyInvalid, match="uses threshold, a float that another cell made"):
        check_purity(hidden["strategy"])
    hidden = in_kernel(source=STRATEGY.replace("lookback + 1", "bars"), bars=22)
    with pytest.raises(StrategyInvalid, match="uses bars, a int that another cell made"):
        check_purity(hidden["strategy"])


@pytest.mark.parametrize("knobs", [SimpleNamespace(bars=22), np.array([22]), {"bars": 22}])
def test_an_object_from_another_cell_hides_no_parameter_either(knobs):
    source = STRATEGY.replace("lookback + 1", "int(getattr(knobs, 'bars', 22))")
    with pytest.raises(StrategyInvalid, match=r"uses knobs, a \w+ that another cell made"):
        check_purity(in_kernel(source=source, knobs=knobs)["strategy"])


def test_a_parameter_changed_after_the_strategy_was_built_is_noticed():
    space = in_kernel()
    check_purity(space["strategy"])
    space["top"] = 5
    with pytest.raises(StrategyInvalid, match="top is 5 now but 3 in the strategy"):
        check_purity(space["strategy"])
