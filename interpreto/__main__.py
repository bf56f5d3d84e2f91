"""``python -m interpreto`` is ``interpreto``."""

import sys

from interpreto.cli import main

sys.exit(main())
