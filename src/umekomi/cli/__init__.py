"""The command line: parse, call the library, print. One file a group of commands."""
