"""How many files and sockets this process may have open.

Systems start processes with a low limit (often 1,024) that each may raise by itself; hundreds of clients need more.
"""

import contextlib
import resource


def raise_file_limit() -> None:
    """Raises the limit as far as the system lets this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a hard limit of "infinity" is not granted everywhere
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
