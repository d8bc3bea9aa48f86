"""Notebook runs: papermill in a process group of its own, judged by its processes."""
