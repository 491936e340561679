"""A process with threads that forks while one of them logs. An op is a record that a child has logged.

The incident: "Using Eight Cores (incorrectly) with Python", The Wub Machine: a web application on CPython 2.7, whose remixes run in processes of
`multiprocessing`. Children hung: gdb's Python stack (79 frames) showed one in `threading.py`, `_RLock.acquire`, called by
`logging`'s `Handler.acquire` of a FileHandler. That lock was held by a thread of the parent as it forked; the child has the lock, and not the thread
that would release it. "To find and fix these bugs took a lot of time"; the success rate then went "from horrible to 95%".

CPython 3.7 and later make `logging`'s own locks anew in a forked child (bpo-6721); there the same happens with every lock that it does not know
of, such as the one that this handler makes for itself. `multiprocessing` does no more here than fork. The near miss takes the
handler's lock before it forks, so that nobody else has it. --threads of the parent log, so that any of them has the lock; with --main-logs its main thread
does too, and another forks. In a child --loggers threads log, and --others do not: these go on.
"""

import logging
import os
import threading
import time

import program
import workload

options = workload.options(__doc__, jobs=2, threads=1, main_logs=False, loggers=1, others=0, near_miss=False)
writing = threading.Event()


class SlowHandler(logging.Handler):
    """Writes as to a slow disk, with its lock held and without the GIL."""

    def createLock(self):
        self.lock = threading.RLock()

    def emit(self, record):
        writing.set()
        time.sleep(0.1)
        writing.clear()


handler = SlowHandler()
log = logging.getLogger("wub")
log.addHandler(handler)
here, there = os.pipe()


def log_streamed():
    log.warning("streamed")
    time.sleep(0.02)


def stream():
    while not workload.stopping:
        log_streamed()


def remix():
    while True:
        log.warning("remixed")  # The cause
        os.write(there, b".")
        time.sleep(0.02)


def job():
    if options.near_miss:
        handler.release()
    for body in [remix] * (options.loggers - 1) + [program.beat(0.02, [])] * options.others:
        threading.Thread(target=body).start()
    remix()


def start_jobs():
    for _ in range(options.jobs):
        if options.near_miss:
            handler.acquire()
        else:
            writing.wait()
        children.append(program.fork(job, options))
        if options.near_miss:
            handler.release()


streamers = [threading.Thread(target=stream) for _ in range(options.threads)]
for streamer in streamers:
    streamer.start()
children = []
if options.main_logs:
    server = threading.Thread(target=start_jobs)
    server.start()
    while server.is_alive():
        log_streamed()
else:
    start_jobs()
os.close(there)
program.truth(options, "deadlock", remix, processes=children)
began = workload.clock()
workload.pause(options.seconds)
seconds = workload.clock() - began
workload.stopping = True
for streamer in streamers:
    streamer.join()
figures = program.end(children)
records = 0
while os.read(here, 1):
    records += 1
workload.report(options, records, seconds, **figures)
