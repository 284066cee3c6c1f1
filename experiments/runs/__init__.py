"""What a run leaves behind: its folder, records, environment and plots."""
