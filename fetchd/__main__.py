"""`python -m fetchd` is the command `fetchd`."""

from fetchd.cli.main import main

if __name__ == "__main__":
    main()
