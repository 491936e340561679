"""More busy processes than CPUs, each of them with one thread: they wait for a processor, and for no GIL. An op is a second that one of them has run.

The near miss has one.
"""

import json
import os

import program
import workload

options = workload.options(__doc__, processes=4 * os.sysconf("SC_NPROCESSORS_ONLN"), near_miss=False)


def work():
    document = {"rows": [{"number": number, "name": "row"} for number in range(100)]}
    while True:
        json.loads(json.dumps(document))


def scheduled(process):
    """Seconds on a processor, and without one though ready to run (proc(5))."""
    with open("/proc/%d/schedstat" % process) as file:
        return [int(number) / 1e9 for number in file.read().split()[:2]]


workers = [program.fork(work, options) for _ in range(1 if options.near_miss else options.processes)]
program.truth(options, "oversubscribed", processes=workers)
began = workload.clock()
workload.pause(options.seconds)
seconds = workload.clock() - began
ran, waited = (sum(times) for times in zip(*map(scheduled, workers)))
workload.report(options, ran, seconds, waited=round(waited, 3), **program.end(workers))
