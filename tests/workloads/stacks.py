# -*- coding: utf-8 -*-
"""Threads at rest in known places, as many as Python has ways to be somewhere. The result has each one's functions, files and lines, as
Python itself tells them."""

import functools
import json
import sys
import threading
import time

IS_3 = sys.version_info[0] >= 3
sys.setrecursionlimit(5000)
threading.stack_size(64 << 20)

arrived, gate = threading.Semaphore(0), threading.Lock()
gate.acquire()


def block(*ignored):
    arrived.release()
    gate.acquire()


def nested():
    def first():
        second(1,
               2)

    def second(*numbers):
        if numbers:
            for number in numbers:
                third(
                    number
                )

    def third(number):
        try:
            raise ValueError(number)
        except ValueError:
            with threading.Lock():
                block()

    first()


def generators():
    def inner():
        yield 1
        yield block()

    def outer():
        for one in inner():
            yield one

    for _ in (one for one in outer()):
        pass


def comprehensions():
    return [
        [block() for _ in range(1)]
        for _ in
        {number: {number for number in range(2)}
         for number in range(3)}
    ]


def lambdas():
    return (lambda: [

        (lambda *arguments:

         block(arguments,
               2))(1),
    ])()


def c_calls():
    def key(number):
        return functools.reduce(add, [number,
                                      2])

    def add(one, other):
        return block()

    return sorted([1, 2],
                  key=key)


class Class(object):
    def __init__(self):
        self.property

    @property
    def property(self):
        return self[3:
                    4]

    def __getitem__(self, key):
        return +self

    def __pos__(self):
        return self.method()

    @staticmethod
    def decorated(number):
        block()

    @classmethod
    def of_class(cls):
        cls.decorated(None)

    def method(self):
        class Inner(object):
            value = 1
            self.of_class()

        return Inner


def deep(depth=1500):
    if depth:
        deep(depth - 1)
    block()


def code(file, text):
    """Code from such a file, run; 2.7 has bytes for both."""
    def run():
        names = {"block": block}
        exec(compile(text, file, "exec"), names)

    return run


LONG = "\n" * 300 + "x = [block,\n" + "\n" * 300 + " block()]\n"
BODIES = [nested, generators, comprehensions, lambdas, c_calls, Class, deep]
BODIES += [code("m\u00f6dule.py" if IS_3 else b"m\xc3\xb6dule.py", LONG), code("a b\u0001.py", "block()")]
if IS_3:
    COROUTINES = (
        "class Later:\n  def __await__(self):\n    yield block()\nasync def \u00e9t\u00e9():\n\n  await Later()\n"
        "async def main():\n  async def all():\n    yield await \u00e9t\u00e9()\n  async for _ in all():\n    pass\nmain().send(None)\n"
    )
    BODIES += [
        code("\u5de5.py", "def \u5de5():\n\n\n  block()\n\u5de5()"),
        code("\U0001f600.py", "def \U00020000():\n  block()\n\U00020000()"),
        code("c.py", COROUTINES),
        code("y.py", "def a():\n  yield\n  yield (\n   block())\ndef b():\n  yield from a()\nlist(b())\n"),
    ]

tids = {}


def own_tid():
    # `threading.get_native_id` came with 3.8. A root to chroot into may have no /proc.
    if hasattr(threading, "get_native_id"):
        return threading.get_native_id()
    import ctypes

    # `__NR_gettid` on x86-64.
    return ctypes.CDLL(None).syscall(186)


def thread(body):
    tids[threading.current_thread().ident] = own_tid()
    body()


def functions(frame):
    found = []
    while frame is not None:
        code = frame.f_code
        found.append([code.co_name, code.co_filename, frame.f_lineno, getattr(code, "co_qualname", None)])
        frame = frame.f_back
    return found


def all_functions():
    frames = sys._current_frames()
    return {tids[ident]: functions(frames[ident]) for ident in tids}


for body in BODIES:
    each = threading.Thread(target=thread, args=(body,))
    each.daemon = True
    each.start()
for _ in BODIES:
    arrived.acquire()
# The last of them has still to go to sleep.
before, now = None, all_functions()
while now != before:
    time.sleep(0.1)
    before, now = now, all_functions()
sys.stdout.write(json.dumps({"functions": now}) + "\n")
sys.stdout.flush()
sys.stdin.readline()
