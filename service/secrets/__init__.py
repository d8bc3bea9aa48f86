"""Where secrets come from, and how they are moved and replaced."""
