"""Threads that contend for locks, some for each, and a record of it: how often an acquisition found its lock taken and slept, for how
long it lasted then, and how often it slept in it.

A lock is held without the GIL (a sleep), so that what an acquisition lasts is the wait for the lock, and next to nothing else. The result
has for each lock its address (of the semaphore, or of the `PyMutex`), the number of contended acquisitions, their time and their sleeps. An op is an
acquisition.
"""

import resource
import sys
import threading
import time

import workload

try:
    import ctypes
except ImportError:
    # A build without it: where its semaphores are is not known.
    ctypes = None

options = workload.options(__doc__, threads=3)
# A lock object is its head and then its lock: a pointer to a semaphore, or a `PyMutex` (3.13.1+: Modules/_threadmodule.c).
HEAD = object.__basicsize__


class Recorded:
    """A lock, how long it is held, and the record of each thread."""

    def __init__(self, name, lock, hold, is_mutex):
        self.name, self.lock, self.hold, self.records = name, lock, hold, []
        place = id(lock) + HEAD
        self.address = place if is_mutex else ctypes.c_void_p.from_address(place).value
        self.kind = "py-mutex" if is_mutex else "semaphore"

    def use(self, record):
        if not self.lock.acquire(False):
            began, slept = time.monotonic_ns(), sleeps()
            self.lock.acquire()
            slept = sleeps() - slept
            # It may have been free again by now.
            if slept:
                record.append((time.monotonic_ns() - began, slept))
        time.sleep(self.hold)
        self.lock.release()
        # Else it has the lock again before a waiter is on a processor.
        time.sleep(self.hold)


def sleeps():
    """How often the present thread has given its processor away to wait."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def is_mutex(since):
    return sys.version_info >= since


kinds = [
    ("lock", threading.Lock(), 0.002, is_mutex((3, 13, 1))),
    ("rlock", threading.RLock(), 0.003, is_mutex((3, 14))),
    ("other lock", threading.Lock(), 0.001, is_mutex((3, 13, 1))),
]
locks = [Recorded(*each) for each in kinds if ctypes or each[-1]]


def contender(recorded):
    def contend():
        record, rounds = [], 0
        recorded.records.append(record)
        while not workload.stopping:
            recorded.use(record)
            rounds += 1
        return rounds

    return contend


rounds, seconds = workload.run([contender(each) for each in locks] * options.threads, options)
contended = [
    {
        "name": each.name,
        "address": "%#x" % each.address,
        "kind": each.kind,
        "threads": sum(1 for record in each.records if record),
        "count": sum(map(len, each.records)),
        "sum_ns": sum(lasted for record in each.records for lasted, _ in record),
        "max_ns": max([0] + [max(record)[0] for record in each.records if record]),
        "sleeps": sum(slept for record in each.records for _, slept in record),
    }
    for each in locks
]
workload.report(options, sum(rounds), seconds, locks=contended)
