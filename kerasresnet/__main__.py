"""`python -m kerasresnet` is the `kerasresnet` command."""

import sys

from kerasresnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
