"""Sweeps: optuna proposes, warm workers evaluate, the ledger records before anybody sees."""
