"""Work in processes of its own, which it may break."""

import os
import subprocess
import sys
import threading
import time
from typing import Any


def run_alone(program: str) -> str:
    """What a program prints that ends well and complains of nothing."""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0 and not ended.stderr, (ended.returncode, ended.stderr[-2000:])
    return ended.stdout


def in_a_child(work: Any) -> int:
    """The exit status of a forked child that does some work."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def lets_others_run(work: Any, seconds: float = 60) -> bool:
    """Whether another thread gets to run while `work` is called for so long.

    Nobody has to give the interpreter's lock up for having had it long: who has it keeps it, unless
    `work` lets go of it. Once may be too short for the other thread to be awake.
    """
    interval = sys.getswitchinterval()
    go, ran = threading.Lock(), threading.Event()
    go.acquire()

    def other() -> None:
        with go:
            ran.set()

    thread = threading.Thread(target=other)
    thread.start()
    sys.setswitchinterval(3600)
    try:
        go.release()
        until = time.monotonic() + seconds
        while not ran.is_set() and time.monotonic() < until:
            work()
        return ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join()
