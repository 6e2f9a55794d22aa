"""``python -m umekomi`` and the command ``umekomi``."""

import importlib
import sys


def main() -> None:
    """Run the command line. The import is inside so that Ctrl-C during it prints one line instead of a traceback."""
    try:
        command_line = importlib.import_module("umekomi.cli.main")
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
    command_line.main()


if __name__ == "__main__":
    main()
