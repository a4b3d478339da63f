"""`python -m vinr_engine.cli`, for torchrun among others."""

import sys

from vinr_engine.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
