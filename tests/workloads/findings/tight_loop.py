"""One line of Python that loops, beside a thread that wants to run every 10 ms. An op is a turn of the other's.

The near miss has the same loop, for a millisecond at a time.
"""

import time

import program
import workload

options = workload.options(__doc__, near_miss=False)
late, used = [], {}


def wait_busily():
    until = workload.clock() + 0.001
    while not workload.stopping and (not options.near_miss or workload.clock() < until): pass  # The cause  # fmt: skip


def loop():
    while not workload.stopping:
        wait_busily()
        time.sleep(0.02)
    used.update(program.usage(program.THREAD))


program.truth(options, "tight-loop", wait_busily, also=["convoy"])
done, seconds = workload.run([program.beat(0.01, late), loop], options)
workload.report(options, done[0], seconds, **dict(used, **program.milliseconds("beats", late)))
