"""Notebooks on a schedule: jobs as rows, every slot claimed once, every fire a recorded run."""
