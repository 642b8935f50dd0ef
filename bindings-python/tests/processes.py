"""Work in processes of its own, which it may break."""

import os
import subprocess
import sys
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
