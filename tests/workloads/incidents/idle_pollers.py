"""Processes of a service, each with many threads that never have anything to do, and look whether they have. An op is a request.

The incident: "Something isn't right here" (PyConZA 2017). A web service on CPython 2.7.3, gunicorn and tornado, 80 requests a second: 40 worker
processes of 45 to 49 threads each on 2 CPUs. 100,000 voluntary context switches a second, 30 to 150 of each thread, and only 50
involuntary; system time that nobody could explain. gdb shows threads waiting for the GIL in `time.sleep`, called by a function with an argument of
two given by default: so does 2.7's `Condition.wait` wait when it has a timeout, 50 ms at a time. The threads were pykafka's, and idle. What
helped: 4 workers, and rdkafka, with 2 threads in all. How long it took to find is not told; logging, pidstat, strace, gdb and perf were needed.

The near miss has as many threads, which wait for a queue without a timeout. Few processes here: 40 would drown a small machine. Each thread looks
50 times a second; that and the work of a request are this program's own choice.
"""

import json
import os
import signal
import time

try:
    import queue
except ImportError:
    import Queue as queue

import program
import workload

options = workload.options(__doc__, processes=2, threads=45, interval=20, requests=80, near_miss=False)
inbox = queue.Queue()
latencies, before = [], {}


def fetch():
    looks = 0
    while not workload.stopping:
        time.sleep(options.interval / 1000.0)  # The cause
        looks += 1
    return looks


def fetch_blocking():
    inbox.get()
    return 0


def serve():
    period, served = float(options.processes) / options.requests, 0
    document = dict((str(number), number) for number in range(1000))
    due = workload.clock()
    while not workload.stopping:
        for _ in range(100):
            sum(document[name] for name in document)
        latencies.append(workload.clock() - due)
        served += 1
        if served == 1:
            # The start of so many threads is not what it is about.
            before.update(program.usage())
        due = max(due + period, workload.clock() - period)
        time.sleep(max(0, due - workload.clock()))
    for _ in range(options.threads):
        inbox.put(None)
    return served


def worker():
    os.dup2(there, 1)
    threads = [fetch_blocking if options.near_miss else fetch] * options.threads
    done, seconds = workload.run([serve] + threads, options)
    switches = program.usage()["voluntary"] - before["voluntary"]
    figures = program.milliseconds("requests", latencies)
    workload.report(options, done[0], seconds, looks=sum(done[1:]), voluntary=switches, **figures)


here, there = os.pipe()
workers = [program.fork(worker, options) for _ in range(options.processes)]
os.close(there)
answers = os.fdopen(here)
for _ in workers:
    answers.readline()
program.truth(options, "idle-pollers", fetch, also=["convoy"], processes=workers)
workload.pause(options.seconds)
figures = program.end(workers, signal.SIGTERM)
results = [json.loads(line) for line in answers]
figures.update((key, max(result[key] for result in results)) for key in results[0])
figures.update((key, sum(result[key] for result in results)) for key in ("ops", "looks", "requests", "voluntary"))
workload.report(options, figures.pop("ops"), figures.pop("seconds"), **dict(figures, rate=0))
