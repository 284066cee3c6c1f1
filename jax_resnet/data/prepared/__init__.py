"""Data sets as tensorflow-datasets keeps them on disk, and the decoded cache beside them."""
