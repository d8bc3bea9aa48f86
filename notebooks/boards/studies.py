"""A board of studies: what was tried, how much of it luck explains, and what became of it.

marimo run notebooks/boards/studies.py                 in the browser
python notebooks/boards/studies.py                     headless
app.run(defs={"workspace_path": ..., "study_name": ...})   from a program
"""

import marimo

app = marimo.App(width="medium", app_title="Studies")


@app.cell
def parameters():
    workspace_path = ""  # empty: the one this process stands in
    study_name = ""  # empty: the study with the most trials
    return study_name, workspace_path


@app.cell
def imports():
    import base64
    import html

    import marimo as mo

    from pipelines import board
    from pipelines.errors import EvidenceMissing
    from pipelines.pictures import Picture
    from pipelines.research import open_workspace

    def shown(thing):
        """Pictures and tables as plain HTML: nothing is loaded from anywhere."""
        if isinstance(thing, Picture):
            data = base64.b64encode(thing.png).decode()
            alt = html.escape(thing.words, quote=True)
            return mo.Html(
                f'<img style="max-width:100%" alt="{alt}" src="data:image/png;base64,{data}">'
            )
        room = "<style>.records :is(td, th) { padding: 0.15rem 0 0.15rem 1.5rem; } "
        room += ".records :is(td, th):first-child { padding-left: 0; }</style>"
        return mo.Html(f'<div class="records">{room}{thing._repr_html_()}</div>')

    return EvidenceMissing, board, mo, open_workspace, shown


@app.cell
def overview(board, mo, open_workspace, shown, workspace_path):
    ledger = open_workspace(workspace_path or None).ledger()
    records = ledger.studies()
    table = board.studies_table(ledger)
    mo.vstack([mo.md("# Studies"), mo.md("Every configuration ever opened counts."), shown(table)])
    return ledger, records, table


@app.cell
def choice(mo, records, study_name):
    names = [record.name for record in sorted(records, key=lambda one: -one.trials)]
    default = study_name or (names[0] if names else None)
    picker = mo.ui.dropdown(names, value=default, label="Study")
    picker
    return (picker,)


@app.cell
def evidence_of(EvidenceMissing, ledger, mo, picker):
    mo.stop(picker.value is None, mo.md("No study was declared yet; run a notebook first."))
    try:
        evidence = ledger.evidence(picker.value)
    except EvidenceMissing as missing:
        mo.stop(True, mo.md(f"Nothing to draw yet: {missing}."))
    mo.md(f"## {picker.value}\n\n{ledger.study(picker.value).declaration['question']}")
    return (evidence,)


@app.cell
def trials(board, ledger, picker, shown):
    best = board.trials_table(ledger, picker.value)
    shown(best)
    return (best,)


@app.cell
def luck(board, evidence, mo, shown):
    ratios = board.sharpe_distribution(evidence)
    mo.vstack([mo.md("### Is the best one better than luck?"), shown(ratios)])
    return (ratios,)


@app.cell
def spa(board, evidence, mo, shown):
    superiority = board.superiority_table(evidence)
    mo.vstack([mo.md("### Hansen's test over all trials at once"), shown(superiority)])
    return (superiority,)


@app.cell
def halves(board, evidence, mo, shown):
    mo.stop(len(evidence.names) < 2, mo.md("Overfitting needs two complete trials."))
    logits = board.overfitting(evidence)
    mo.vstack([mo.md("### Does what is best in one half stay good in the other?"), shown(logits)])
    return (logits,)


@app.cell
def fan(board, evidence, mo, shown):
    equity = board.equity_fan(evidence)
    mo.vstack([mo.md("### All of them through time"), shown(equity)])
    return (equity,)


if __name__ == "__main__":
    app.run()
