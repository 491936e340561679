"""A service whose one thread answers requests, until one of them makes it loop for ever. An op is a request answered.

The incident: "Experiences debugging memory bloat and high CPU consumption in python" (PyConZA 2016). CPython 2.7, Twisted 16.0.0: a REST service
in one thread, which may not be restarted, and into which no package may be installed. Of its examples this is `highcpu.py`: `render_list` asks for
results one by one, and "forgot to get a new value for next_item". Tracing of function calls, which was what they had, "won't pick up" a loop
that calls nothing; what they wished for was a way to switch it on from outside. How long it took is not told. Its garbage
collector's part is in `findings/gc_pauses.py`.

Twisted's reactor is a loop over a socket here; the requests come from a child process: many for one attendee, and one in a
hundred for the list. The near miss gets the next value. --others are threads of the service that want to run every --beat milliseconds, which the loop
keeps waiting.
"""

import os
import socket
import time

import program
import workload

options = workload.options(__doc__, attendees=1000, interval=10, others=0, beat=500, near_miss=False)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
here, there = os.pipe()
used = {}


class Demo:
    """The resource."""

    def get_attendees(self):
        for number in range(options.attendees):
            yield {"registration": number}

    def include_result(self, result):
        return False

    def render_list(self):
        results, done, all_results = self.get_attendees(), False, []
        next_item = next(results)
        while not done and not workload.stopping:  # The cause
            if self.include_result(next_item):  # The cause
                all_results.append(next_item)
            if options.near_miss:  # The cause
                next_item = next(results, None)
                done = next_item is None
        return all_results


def reactor():
    answered, demo = 0, Demo()
    # So that it sees the end.
    ours.settimeout(0.2)
    while not workload.stopping:
        try:
            request = ours.recv(64)
        except socket.timeout:
            continue
        if request == b"list":
            demo.render_list()
        ours.send(b"done")
        answered += 1
    used.update(program.usage(program.THREAD))
    return answered


def ask():
    asked = 0
    while True:
        began = workload.clock()
        theirs.send(b"list" if asked % 100 == 10 else b"one")
        theirs.recv(64)
        os.write(there, ("%.6f\n" % (workload.clock() - began)).encode())
        asked += 1
        time.sleep(options.interval / 1000.0)


program.truth(options, "tight-loop", Demo.render_list)
client = program.fork(ask, options)
os.close(there)
others = [program.beat(options.beat / 1000.0, []) for _ in range(options.others)]
done, seconds = workload.run([reactor] + others, options)
program.end([client])
with os.fdopen(here) as answers:
    figures = dict(used, **program.milliseconds("requests", map(float, answers)))
workload.report(options, done[0], seconds, **figures)
