"""`python -m fetchd.demo [FOLDER]`."""

import sys

from fetchd.demo.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
