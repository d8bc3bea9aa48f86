"""REST, CLI and desk: the only place that reads settings and picks adapters."""
