# -*- coding: utf-8 -*-
"""One thread, the first, has the GIL for a long time at once, and others want it every millisecond, each called in another way. The result says
where they are, as Python itself tells it: the lines of the innermost function, and each of its callers."""

import dis
import functools
import json
import sys
import threading
import time

sys.setrecursionlimit(5000)
threading.stack_size(64 << 20)

arrived, places = threading.Semaphore(0), []


def known():
    """Notes where the function is that calls this."""
    frame = sys._getframe(1)
    inner = frame.f_code
    lines = [line for _, line in dis.findlinestarts(inner) if line is not None]
    callers, frame = [], frame.f_back
    while frame is not None:
        code = frame.f_code
        callers.append([code.co_name, code.co_filename, frame.f_lineno])
        frame = frame.f_back
    places.append({"inner": [inner.co_name, inner.co_filename, min(lines), max(lines)], "callers": callers})
    arrived.release()


def poll(*ignored):
    known()
    while True:
        time.sleep(0.001)


def by_c():
    sorted([1, 2],
           key=lambda one: functools.reduce(
               poll, [one,
                      2]))


def by_generator():
    def inner():
        yield 1
        yield poll()

    for _ in (one for one in inner()):
        pass


def by_class():
    class Inner(object):
        @property
        def value(self):
            return [poll() for _ in range(1)]

        value_of = property(lambda self: self.value)

    return Inner().value_of


def deep(depth=300):
    if depth:
        deep(depth - 1)
    poll()


def busy(depth=40):
    if depth:
        return busy(
            depth - 1
        )
    return busily()


def busily():
    many = tuple(range(2000000))
    known()
    sys.stdout.write(json.dumps({"places": places}) + "\nready\n")
    sys.stdout.flush()
    end = time.time() + 60
    while time.time() < end:
        # One call into C, which lets nobody else in.
        sum(many)


for body in [poll, by_c, by_generator, by_class, deep]:
    thread = threading.Thread(target=body)
    thread.daemon = True
    thread.start()
    arrived.acquire()
busy()
