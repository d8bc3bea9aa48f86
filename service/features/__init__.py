"""What `sluice features` does, behind its thin commands."""
