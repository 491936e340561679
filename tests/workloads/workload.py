"""What the workloads share: options, threads that start together, the result line. CPython 3.6 to 3.15, nothing else."""

import argparse
import json
import sys
import threading
import time

stopping = False


def options(description, **numbers):
    """--seconds and, for each keyword, an option of that name with that default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=5.0)
    for name, default in numbers.items():
        parser.add_argument("--" + name, type=int, default=default)
    return parser.parse_args()


def run(bodies, seconds):
    """Runs each body in a thread of its own until `stopping`; returns what they returned."""
    global stopping
    results = [None] * len(bodies)
    together = threading.Barrier(len(bodies) + 1)

    def thread(index, body):
        together.wait()
        results[index] = body()

    threads = [threading.Thread(target=thread, args=item) for item in enumerate(bodies)]
    for each in threads:
        each.start()
    together.wait()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    began = time.monotonic()
    time.sleep(seconds)
    stopping = True
    for each in threads:
        each.join()
    return results, time.monotonic() - began


def report(ops, seconds, **more):
    """The last line of output."""
    print(json.dumps(dict(more, ops=ops, seconds=round(seconds, 6), rate=round(ops / seconds, 3))), flush=True)


def spin():
    """Holds the GIL until asked for it; returns the rounds made."""
    rounds = 0
    while not stopping:
        for _ in range(100):
            rounds += 1
    return rounds
