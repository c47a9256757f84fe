"""Files in a place that a person named: a local folder or a gs:// prefix, with one set of rules."""
