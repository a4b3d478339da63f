import sys

from benchmarks.static.run import main

if __name__ == "__main__":
    sys.exit(main())
