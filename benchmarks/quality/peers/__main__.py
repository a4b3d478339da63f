"""`python -m benchmarks.quality.peers`: see run."""

import sys

from .run import main

sys.exit(main())
