"""What a person must hear: raised in files, sent by a process of its own until answered."""
