"""When a session runs and which process may run it."""
