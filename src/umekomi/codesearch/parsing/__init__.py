"""Splitting of source files into chunks: functions, methods, classes, sections and windows of lines."""
