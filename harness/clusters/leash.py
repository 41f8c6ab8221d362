"""Turns this process into another program that the kernel kills when whoever started it dies.

`python -I -S leash.py <parent's pid> <program> <arguments>`. The wish is the process's own and survives the change of
program (prctl(2), PR_SET_PDEATHSIG), so it is made here rather than between fork and exec in a harness with many threads.
Nothing of ours may be imported here: every node's start waits for it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):  # it died before the wish was made
        sys.exit(1)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is wanted
