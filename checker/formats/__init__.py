"""Reading and writing histories: every format that the checker knows, found by content."""
