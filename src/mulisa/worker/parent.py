"""An agent process does not outlive the one that supervises it, however that one ends."""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

from mulisa.core.leaving import ENDING

_STDIN: Final = 0


def end_with_parent() -> None:
    """From now on, the end of our standard input is a SIGTERM, and a SIGKILL a little later.

    The supervisor holds the other end of that pipe and never writes; a thread waits for its end,
    because an event loop may be busy with native code for seconds while engines load.
    """
    threading.Thread(target=_wait_for_end, name="parent", daemon=True).start()


def _wait_for_end() -> None:
    while os.read(_STDIN, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(ENDING)
    os.kill(os.getpid(), signal.SIGKILL)
