"""The command line: parse, call, print."""

import os

# Small arrays lose more time to BLAS threads than they gain: up to tenfold on a busy machine. Set before numpy loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
