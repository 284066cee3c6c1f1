"""What an experiment can be configured with: settings, recipes, flags, data sets."""
