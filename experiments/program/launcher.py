"""A process that `launch` started ends when its launcher does, however that ends."""

import os
import signal
import sys
import threading

__all__ = ["LAUNCHED", "end_with_launcher"]

# Set in the environment of a launched process, whose standard input is a pipe that only the launcher can
# write to, and never does.
LAUNCHED = "JAX_RESNET_LAUNCHED"


def end_with_launcher() -> None:
    """Ends this process as SIGKILL would as soon as its launcher is gone; does nothing if it has none.

    The system closes the launcher's end of the pipe even if the launcher is killed, which its own code
    cannot notice. It works on every system, and whenever the launcher dies: a pipe stays closed.
    """
    # Taken out, so that the programs that this one starts do not look for a launcher of their own.
    if os.environ.pop(LAUNCHED, None) and sys.stdin is not None:
        threading.Thread(target=_wait, args=(sys.stdin.fileno(),), name="launcher", daemon=True).start()


def _wait(pipe: int) -> None:
    while os.read(pipe, 1024):
        pass
    # Not a signal that is handled: a handler runs in the main thread, which may wait for another process.
    os._exit(128 + getattr(signal, "SIGKILL", 9))
