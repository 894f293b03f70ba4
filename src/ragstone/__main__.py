"""`python -m ragstone` is the command `ragstone`."""

import sys

from ragstone.cli.app import main

sys.exit(main())
