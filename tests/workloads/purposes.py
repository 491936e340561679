"""Threads that wait in the standard library, each in another way: for work, or for what another has. The result has how long the calls
lasted in which they wait for the one or the other, and those in which they may wait for either: these are short, but for a thread without a processor.

Others give them what they wait for every 5 ms.
"""

import concurrent.futures
import queue
import threading
import time

import workload

options = workload.options(__doc__)


class Timed:
    """The time in calls that wait."""

    def __init__(self):
        self.waited_ns = []

    def __call__(self, wait, *arguments):
        began = time.monotonic_ns()
        wait(*arguments)
        self.waited_ns.append(time.monotonic_ns() - began)


idle, contention, either = Timed(), Timed(), Timed()


def pause():
    time.sleep(0.005)


def repeat(step):
    def body():
        rounds = 0
        while not workload.stopping:
            step()
            rounds += 1
        return rounds

    return body


def giving(give):
    """Every 5 ms, and at the end until whoever takes has seen that it is the end."""

    def step():
        pause()
        give()

    def body():
        rounds = repeat(step)()
        for _ in range(3):
            step()
        return rounds

    return body


def holding(lock):
    def step():
        contention(lock.acquire)
        pause()
        either(lock.release)
        # The other is to have it in between.
        time.sleep(0.0005)

    return repeat(step)


def joining():
    thread = threading.Thread(target=pause)
    either(thread.start)
    idle(thread.join)


def submitting():
    """Between two tasks the one worker waits for 5 ms. All the rest of the time either of the two threads may wait for the other."""
    pauses, began = Timed(), time.monotonic_ns()
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        rounds = repeat(lambda: (executor.submit(int).result(), pauses(pause)))()
    rest_ns = time.monotonic_ns() - began - sum(pauses.waited_ns)
    idle.waited_ns.extend(pauses.waited_ns)
    either.waited_ns.extend([rest_ns, rest_ns])
    return rounds


def waiting(event):
    event.wait()
    event.clear()


def emptying(items):
    try:
        items.get_nowait()
    except queue.Empty:
        pass


items, full, event = queue.Queue(), queue.Queue(1), threading.Event()
semaphore, lock = threading.Semaphore(), threading.Lock()
bodies = [
    repeat(lambda: idle(items.get)),
    giving(lambda: either(items.put, 1)),
    repeat(lambda: idle(waiting, event)),
    giving(lambda: either(event.set)),
    repeat(joining),
    submitting,
    repeat(lambda: contention(full.put, 1)),
    giving(lambda: either(emptying, full)),
    holding(semaphore),
    holding(semaphore),
    holding(lock),
    holding(lock),
]
rounds, seconds = workload.run(bodies, options)
waited = {"idle_ns": idle, "contention_ns": contention, "either_ns": either}
waited = {name: sum(timed.waited_ns) for name, timed in waited.items()}
workload.report(options, sum(rounds), seconds, **waited)
