"""A thread computes a checksum in libz all the time, beside one that wakes up every millisecond: `keeps` the GIL meanwhile, or
`releases` it. Or the same in `python`, or so many rounds in the library (`hosts/chain.c`) at a path.
"""

import ctypes
import sys
import threading
import time

DATA = b"x" * (20 << 20)


def checksum(library):
    while True:
        library.crc32(0, DATA, len(DATA))


def compute(library):
    rounds = ctypes.c_long(int(sys.argv[2]))
    while True:
        library.compute(rounds)


def count():
    number = 0
    while True:
        number += 1


def poll():
    while True:
        time.sleep(0.001)


how = sys.argv[1]
if how == "python":
    work = count
elif how.startswith("/"):
    work = lambda: compute(ctypes.PyDLL(how))
else:
    load = {"keeps": ctypes.PyDLL, "releases": ctypes.CDLL}[how]
    work = lambda: checksum(load("libz.so.1"))
for function in (poll, work):
    # Once the last one works, 2.7 may let nobody else run for minutes: it lets go of the GIL for a microsecond only.
    if function is work:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
    thread = threading.Thread(target=function)
    thread.daemon = True
    thread.start()
time.sleep(60)
