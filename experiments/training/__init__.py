"""Training: from a config to a finished run, one run or many."""
