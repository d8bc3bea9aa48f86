"""The bench runner: what it writes, and what it says to a name it does not know."""

import json

from benchmarks.run import KEYS, main


def test_an_unknown_bench_is_refused_and_the_known_ones_are_listed(tmp_path, capsys):
    results = tmp_path / "results.json"
    assert main(["nonsense", "--results", str(results)]) == 2
    assert "spa" in capsys.readouterr().out
    assert not results.exists()


def test_figures_of_a_bench_replace_its_old_ones_and_leave_the_others(tmp_path):
    results = tmp_path / "results.json"
    other = dict.fromkeys(KEYS, 1.0) | {"name": "other", "peer_name": "x", "unit": "s"}
    results.write_text(json.dumps([other]))
    for _ in range(2):
        assert main(["cscv", "--results", str(results)]) == 0
    figures = json.loads(results.read_text())
    assert figures[0] == other
    names = [figure["name"] for figure in figures]
    assert len(names) == len(set(names)) > 1  # run twice, listed once
    assert all(sorted(figure) == sorted(KEYS) for figure in figures)
    for figure in figures[1:]:  # how fast is the bench's business; a busy machine fails no test
        assert figure["ratio"] == figure["peer"] / figure["ours"]
