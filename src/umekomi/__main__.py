"""``python -m umekomi`` and the command ``umekomi``."""

import importlib
import sys


def main() -> None:
    """Run the command line. Ctrl-C is one line from the first moment on, also while the imports run."""
    try:
        command_line = importlib.import_module("umekomi.cli.main")
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
    command_line.main()


if __name__ == "__main__":
    main()
