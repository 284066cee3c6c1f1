"""How a program starts, ends and speaks: signals, exit codes, the console, processes."""
