"""What a forward frees is kept for the next one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# A block that is mapped by itself goes back to the kernel when it is freed (mallinfo2(3): hblks).
_SCRIPT = """
import ctypes, torch
from beam_bert.encoder.memory import keep_freed_memory

class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
keep_freed_memory()
before = mallinfo().hblks
block = torch.empty(20 * 2**18)
print(mallinfo().hblks - before)
"""


def blocks_of_their_own(**environment: str) -> int:
    given = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env=given | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_wide_tensors_are_kept_unless_the_user_has_settings_of_his_own():
    assert blocks_of_their_own() == 0
    assert blocks_of_their_own(MALLOC_TRIM_THRESHOLD_="131072") == 1
