"""Source files, cut into the parts that can be found: functions, methods, classes."""
