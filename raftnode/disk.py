"""The storage thread: it makes Persist effects durable, all that wait in one write and one sync.

While one sync runs the next batch gathers (group commit, thesis 10.2.1). The write and the sync both let go of the
interpreter, so the loop works on meanwhile. What a record is lives in `storage.py`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from raftnode.messages import Persist
from raftnode.storage import WriteAheadLog


class DiskThread:
    """Takes Persist effects from the loop's thread; calls back, in its own thread, what has become of them.

    `done(number)`: all up to this number are durable. `failed(error)`: an OSError if the disk refused, anything
    else is a mistake of ours; nothing more will be written, because a failed sync is final.
    """

    def __init__(self, log: WriteAheadLog, done: Callable[[int], None], failed: Callable[[Exception], None]) -> None:
        self._log = log
        self._done = done
        self._failed = failed
        self._queue: queue.SimpleQueue[Persist | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self.sync_seconds = 0.0
        self.busy_since = 0  # nanoseconds, monotonic; 0 = idle

    def start(self) -> None:
        self._thread.start()

    def put(self, persist: Persist) -> None:
        self._queue.put(persist)

    def stop(self, seconds: float) -> None:
        """Writes what is queued, then ends; waits for that at most so long."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _take(self) -> tuple[list[Persist], bool]:
        """All that is queued (waits for the first), and whether the end was among it."""
        batch: list[Persist] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _run(self) -> None:
        ending = False
        while not ending:
            batch, ending = self._take()
            if not batch:
                break
            self.busy_since = time.monotonic_ns()
            try:
                self._log.write(batch)
            except Exception as error:  # noqa: BLE001 - a thread that dies in silence would leave its node waiting for ever
                self._failed(error)
                return
            self.sync_seconds += (time.monotonic_ns() - self.busy_since) / 1e9
            self.busy_since = 0
            self._done(batch[-1].number)
        self._log.close()
