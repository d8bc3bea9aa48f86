"""One file per noun; each handler decodes, makes one call and encodes."""
