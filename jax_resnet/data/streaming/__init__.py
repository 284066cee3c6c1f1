"""Data sets too large for memory: image folders and ArrayRecord files, decoded as they are needed."""
