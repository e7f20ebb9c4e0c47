"""Benchmarks: every figure in the documentation comes from one of these scripts."""

import server  # noqa: F401  (first, so that numpy finds the thread limits a server runs with)
