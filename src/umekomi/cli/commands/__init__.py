"""One module per command or group of commands, in a package for each section of the help."""
