"""Where a data set's bytes come from: archives, hosts, mirrors, packages."""
