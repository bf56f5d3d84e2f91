"""``python -m interpreto`` is ``interpreto``."""

import sys

from interpreto.cli.explain import main

sys.exit(main())
