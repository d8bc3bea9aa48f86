"""The bench runner: what it writes, and what it says to a name it does not know."""

import json

from benchmarks.run import KEYS, RESULTS, main


def test_an_unknown_bench_is_refused_and_the_known_ones_are_listed(tmp_path, capsys):
    results = tmp_path / "results.json"
    assert main(["nonsense", "--results", str(results)]) == 2
    assert "spa" in capsys.readouterr().out
    assert not results.exists()


def test_figures_of_a_bench_replace_its_old_ones_and_leave_the_others(tmp_path):
    results = tmp_path / "results.json"
    kept = json.loads(RESULTS.read_text())
    old = [figure | {"ours": -1.0} for figure in kept]  # no measurement says so
    results.write_text(json.dumps(old))
    assert main(["cscv", "--results", str(results)]) == 0
    figures = json.loads(results.read_text())
    fresh = [figure for figure in figures if figure["ours"] != -1.0]
    names = {figure["name"] for figure in fresh}
    assert figures == [one for one in old if one["name"] not in names] + fresh
    assert len(figures) == len({figure["name"] for figure in figures})
    assert names & {figure["name"] for figure in kept}  # they were listed, and are once
    assert all(sorted(figure) == sorted(KEYS) for figure in fresh)
    for figure in fresh:  # how fast is the bench's business; a busy machine fails no test
        assert figure["ratio"] == figure["peer"] / figure["ours"]
