"""Memory that a forward frees stays with the process, since the next one takes as much again."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

# From glibc's malloc.h; mallopt(3) says what they do.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MOST_FOR_MMAP = 32 * 2**20  # glibc takes no more


@cache
def keep_freed_memory() -> None:
    """Have glibc keep freed blocks of up to 32 MiB rather than hand them back to the kernel.

    Handed back, every page of every wide tensor is asked for and zeroed again: whether that happens
    hangs on how the heaps of the threads happen to lie. The process holds on to the most that it
    ever needed. Does nothing where the user has set one of glibc's own variables (`MALLOC_…_`), or
    where the C library is another one.
    """
    is_set = any(name.startswith("MALLOC_") for name in os.environ)
    if is_set or platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_MMAP_THRESHOLD, _MOST_FOR_MMAP)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    # A thread's heap is given back as a whole once the one before it has this much room.
    mallopt(_TOP_PAD, 2 * _MOST_FOR_MMAP)
