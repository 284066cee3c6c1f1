"""Data sets too large for memory: image folders and ArrayRecord files, decoded while training."""
