"""Near-linear ways to a verdict, each with its theorem and the condition that it checks."""
