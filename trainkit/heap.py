"""The C library's heap, from which torch takes tensors on a CPU."""

import ctypes
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_ON_HEAP = 2**25
"""Bytes; glibc lets no more be set."""
KEPT = 2**31 - 1


def tidy() -> None:
    """Give back what lies free in it, and from now on keep what becomes free, where the C library is glibc.

    What is given back is fetched again page by page, each filled with zeros, which takes longer than many a sum.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt") and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP)
        library.mallopt(M_TRIM_THRESHOLD, KEPT)
