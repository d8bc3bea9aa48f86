"""The journal as people read it: accounts, curves, origins, and the journal's commands."""
