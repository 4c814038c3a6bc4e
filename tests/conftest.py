"""Two processes share the tests (pyproject.toml), so each may use one thread: two each would wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
