"""The exact search: the problem as small numbers, its reductions, and the ways to walk it."""
