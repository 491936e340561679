"""What the workloads share: options, threads that start together, the result line. CPython 2.7 and 3.6 to 3.15, nothing else."""

import argparse
import json
import os
import signal
import sys
import threading
import time

stopping = False

clock = getattr(time, "monotonic", time.time)


def options(description, **numbers):
    """--seconds and, for each keyword, an option of that name with that default; False makes it a switch."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument(
        "--hold",
        action="store_true",
        help="print 'idle' once all threads exist and wait for a line on stdin before they run; after the result wait "
        "for the end of stdin: tracers that attach and detach in these pauses see the same whole run",
    )
    for name, default in numbers.items():
        kind = {"action": "store_true"} if default is False else {"type": type(default), "default": default}
        parser.add_argument("--" + name.replace("_", "-"), **kind)
    return parser.parse_args()


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Stopped(Exception):
    """By SIGTERM."""


def stop(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped()


def pause(seconds):
    """Says that all is ready, and sleeps, at most until SIGTERM."""
    try:
        signal.signal(signal.SIGTERM, stop)
        say("ready")
        time.sleep(seconds)
        # One that comes from here on is late.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except Stopped:
        pass


def run(bodies, options, spread=False):
    """Runs each body in a thread of its own until `stopping`; returns what they returned, and the seconds.

    `spread` binds the threads to the CPUs in turn. Left alone, the scheduler may keep threads that hand the GIL on
    quickly on one CPU, where they hardly ever contend: a hundred times fewer waits in one run than in the next.
    """
    global stopping
    results = [None] * len(bodies)
    arrived, begin = threading.Semaphore(0), threading.Event()

    def thread(index, body):
        if spread:
            bind_to_cpu(index)
        arrived.release()
        begin.wait()
        results[index] = body()

    threads = [threading.Thread(target=thread, args=item) for item in enumerate(bodies)]
    for each in threads:
        # So that they end with the main thread when whoever reads its output has gone.
        each.daemon = True
        each.start()
    for _ in threads:
        arrived.acquire()
    if options.hold:
        say("idle")
        sys.stdin.readline()
    begin.set()
    began = clock()
    pause(options.seconds)
    stopping = True
    for each in threads:
        each.join()
    return results, clock() - began


def bind_to_cpu(index):
    """Binds this thread to one of the CPUs that the process may use, in turn."""
    if hasattr(os, "sched_setaffinity"):
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cpus[index % len(cpus)]})
        return
    # 2.7 has no such function, but every build has ctypes.
    import ctypes

    libc, mask = ctypes.CDLL(None), (ctypes.c_ulong * 16)()
    libc.sched_getaffinity(0, ctypes.sizeof(mask), mask)
    bits = 8 * ctypes.sizeof(ctypes.c_ulong)
    cpus = [cpu for cpu in range(len(mask) * bits) if mask[cpu // bits] >> (cpu % bits) & 1]
    cpu = cpus[index % len(cpus)]
    mask = (ctypes.c_ulong * 16)()
    mask[cpu // bits] = 1 << (cpu % bits)
    libc.sched_setaffinity(0, ctypes.sizeof(mask), mask)


def report(options, ops, seconds, **more):
    """The last line of output."""
    say(json.dumps(dict(more, ops=ops, seconds=round(seconds, 6), rate=round(ops / seconds, 3))))
    if options.hold:
        sys.stdin.read()


def spin():
    """Holds the GIL until asked for it; returns the rounds made."""
    rounds = 0
    while not stopping:  # The cause
        for _ in range(100):  # The cause
            rounds += 1  # The cause
    return rounds
