"""Threads that release and retake the GIL as fast as they can, without a system call. An op is one release.

ctypes releases the GIL around each foreign call (Modules/_ctypes/callproc.c, `_call_function_pointer`), and libc's
`abs` itself takes a nanosecond: nothing else in the standard library lets go for so short a time. `hashlib` and
`zlib.crc32` release it too, but only for more than 2047 and 5120 bytes, a microsecond's work.
"""

import ctypes

import workload

call = ctypes.CDLL(None).abs


def churn():
    calls = 0
    while not workload.stopping:
        for _ in range(100):
            call(1)
        calls += 100
    return calls


options = workload.options(__doc__, threads=4)
calls, seconds = workload.run([churn] * options.threads, options, spread=True)
workload.report(options, sum(calls), seconds)
