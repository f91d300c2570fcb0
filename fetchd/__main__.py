"""The command `fetchd`, also as `python -m fetchd`: Ctrl-C counts from the first import on."""

import os
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from fetchd.cli.main import main as command

        command()
    except KeyboardInterrupt:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - nothing more is said
        sys.exit(130)


if __name__ == "__main__":
    main()
