"""Research to promotion: studies, runs, ledger, sweeps, gates, bundles."""
