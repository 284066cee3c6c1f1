"""What only a GPU or TPU can show; on a CPU the same in small, so that it can be tried."""
