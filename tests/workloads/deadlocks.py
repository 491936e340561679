"""Threads that cannot go on, in the way that the first argument names, or that can, but slowly. Prints what a dump should tell; CPython 2.7 and
3.6 to 3.15."""

import json
import logging
import os
import sys
import threading
import time


def say(what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def own_tid():
    # `threading.get_native_id` came with 3.8. A root to chroot into may have no /proc.
    if hasattr(threading, "get_native_id"):
        return threading.get_native_id()
    import ctypes

    # `__NR_gettid` on x86-64.
    return ctypes.CDLL(None).syscall(186)


def start(*bodies):
    """Each body in a thread; answers with the threads' ids."""
    tids = [None] * len(bodies)
    known = threading.Semaphore(0)

    def run(index, body):
        tids[index] = own_tid()
        known.release()
        body()

    for index, body in enumerate(bodies):
        thread = threading.Thread(target=run, args=(index, body))
        thread.daemon = True
        thread.start()
    for _ in bodies:
        known.acquire()
    return tids


def circle(number=3):
    """Each thread has an RLock, twice, and wants the next one's."""
    locks = [threading.RLock() for _ in range(number)]
    taken = [threading.Event() for _ in locks]

    def body(index):
        with locks[index], locks[index]:
            taken[index].set()
            for event in taken:
                event.wait()
            with locks[(index + 1) % number]:
                pass

    bodies = [lambda index=index: body(index) for index in range(number)]
    say({"threads": start(*bodies)})


def plain(number=3):
    """The same with locks that do not record who has them, in functions that call each other. Others have had each lock, by `with` too."""
    locks = [threading.Lock() for _ in range(number)]
    taken = [threading.Event() for _ in locks]
    had = [threading.Event() for _ in locks]

    def has_had():
        for lock, event in zip(locks, had):
            with lock:
                pass
            event.set()
        time.sleep(3600)

    def wants(lock):
        with lock:
            pass

    def body(index):
        had[index].wait()
        with locks[index]:
            taken[index].set()
            for event in taken:
                event.wait()
            wants(locks[(index + 1) % number])

    bodies = [lambda index=index: body(index) for index in range(number)]
    say({"threads": start(*(bodies + [has_had]))[:number]})


def own():
    """A thread wants the plain lock that it has, and others want it too."""
    lock, taken = threading.Lock(), threading.Event()

    def body():
        with lock:
            taken.set()
            with lock:
                pass

    def other():
        taken.wait()
        with lock:
            pass

    say({"threads": start(body, other, other)[:1]})


def mutex():
    """A thread has a mutex and wants the GIL; another has the GIL and wants the mutex."""
    import ctypes

    memory = ctypes.create_string_buffer(40)
    locked, wanted = threading.Event(), threading.Event()

    def has_mutex():
        ctypes.CDLL(None).pthread_mutex_lock(memory)
        locked.set()
        wanted.wait()
        time.sleep(0.1)

    def has_gil():
        locked.wait()
        # A `PyDLL` keeps the GIL.
        lock = ctypes.PyDLL(None).pthread_mutex_lock
        wanted.set()
        time.sleep(0.05)
        lock(memory)

    tids = start(has_mutex, has_gil)
    say({"threads": tids})


def fork():
    """A child inherits the lock of a handler of `logging` that a thread of its parent has. From 3.7 on `logging` makes new ones for the child; but not
    for a handler with a lock of its own making."""

    class Handler(logging.StreamHandler):
        def createLock(self):
            self.lock = threading.RLock()

    handler = Handler()
    logging.getLogger().addHandler(handler)
    taken = threading.Event()

    def holder():
        with handler.lock:
            taken.set()
            time.sleep(3600)

    start(holder)
    taken.wait()
    child = os.fork()
    if child == 0:
        logging.getLogger().error("never said")
    say({"child": child})
    try:
        sys.stdin.readline()
    finally:
        os.kill(child, 9)


def forked():
    """In a forked child, by what it tells its parent; that says what it was told, and the child's id, and ends the child when it is asked to."""
    from_child, to_parent = os.pipe()
    child = os.fork()
    if child == 0:
        return lambda what: os.write(to_parent, (json.dumps(what) + "\n").encode())
    told = json.loads(os.fdopen(from_child).readline())
    say(dict(told, child=child))
    try:
        sys.stdin.readline()
    finally:
        os.kill(child, 9)
    return None


def reused():
    """As `fork`, and then a thread of the child is given the id of the one that stayed behind, if the C library gives its stack again: CPython itself
    takes it for the owner."""
    lock, taken = threading.RLock(), threading.Event()
    owner = []

    def sleep():
        time.sleep(3600)

    def holder():
        with lock:
            owner.append(threading.current_thread().ident)
            taken.set()
            sleep()

    start(sleep, holder, sleep)
    taken.wait()
    tell = forked()
    if not tell:
        return
    starts = threading.Semaphore(1)

    def is_owner():
        return threading.current_thread().ident == owner[0]

    def later():
        if is_owner() or not starts.acquire(False):
            return
        # The main thread waits by then.
        time.sleep(0.5)
        reusing = []

        def reuse():
            if is_owner():
                reusing.append(own_tid())
            known.release()
            sleep()

        known = threading.Semaphore(0)
        for _ in range(10):
            thread = threading.Thread(target=reuse)
            thread.daemon = True
            thread.start()
            known.acquire()
        # It is seen to be younger than the wait: by more than a clock tick.
        time.sleep(0.1)
        tell({"reusing": reusing})
        sleep()

    for _ in range(2):
        threading.Thread(target=later).start()
    with lock:
        say("never said")


def handed():
    """In a forked child: two threads wait for an RLock, another begins, and takes it in the moment that it is free, or one of them does."""
    tell = forked()
    if not tell:
        return
    lock = threading.RLock()

    def has():
        tell({"owner": own_tid()})
        time.sleep(3600)

    def waiter():
        with lock:
            has()

    def young():
        while not lock.acquire(False):
            pass
        has()

    lock.acquire()
    for body in (waiter, waiter, young):
        thread = threading.Thread(target=body)
        thread.daemon = True
        thread.start()
        time.sleep(0.3)
    lock.release()
    time.sleep(3600)


def again():
    """A thread that has waited for a condition wants its lock back, inside a `with` on that; another has taken it by `acquire`, and is slow."""
    lock = threading.Lock()
    condition = threading.Condition(lock)
    waits = threading.Event()

    def body():
        with lock:
            waits.set()
            condition.wait()

    def other():
        waits.wait()
        # It has let go of it once this is had.
        lock.acquire()
        condition.notify()
        time.sleep(3600)

    say({"threads": start(body, other)})


def slow():
    """Everybody waits for somebody all the time, and goes on."""
    first, second = threading.RLock(), threading.RLock()

    def in_order():
        while True:
            with first:
                time.sleep(0.002)
                with second:
                    time.sleep(0.002)

    def in_turn():
        while True:
            with second:
                time.sleep(0.002)
            with first:
                time.sleep(0.002)

    def impatient():
        while True:
            with second:
                if sys.version_info >= (3, 2) and first.acquire(timeout=0.05):
                    first.release()
            time.sleep(0.001)

    def busy():
        while True:
            sum(range(1000))

    say({"threads": start(in_order, in_order, in_turn, impatient, busy, busy)})


{"circle": circle, "plain": plain, "own": own, "mutex": mutex, "fork": fork, "reused": reused, "handed": handed, "again": again, "slow": slow}[sys.argv[1]]()
sys.stdin.readline()
