"""`python -m alike_ros` is `alike`."""

import sys

from alike_ros.cli import main

if __name__ == "__main__":
    sys.exit(main())
