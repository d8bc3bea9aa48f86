"""The live commands of the CLI; none of them needs research code."""
