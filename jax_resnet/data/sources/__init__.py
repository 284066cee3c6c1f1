"""Where a data set's bytes come from: local files, hosts and mirrors, public copies, packages."""
