"""Backtest lint: within a second, what usually turns a fine backtest into a bad surprise."""

from pipelines.lint.findings import Finding, Level, LintReport
from pipelines.lint.judge import Context, lint, lint_backtest

__all__ = ["Context", "Finding", "Level", "LintReport", "lint", "lint_backtest"]
