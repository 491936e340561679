"""Two threads that compute in Python all the time, each of which could use a processor of its own. An op is a count to 10,000.

On 2.7 such threads thrash, as in `incidents/system_time.py`. The near miss computes in two threads as well, which rest after each count: they find the GIL
free, nearly always.
"""

import time

import program
import workload

options = workload.options(__doc__, near_miss=False)


def compute():
    done = 0
    while not workload.stopping:
        n = 10000
        while n > 0:  # The cause
            n -= 1  # The cause
        done += 1
        if options.near_miss:
            time.sleep(0.005)
    return done


program.truth(options, "gil-bound", compute)
done, seconds = workload.run([compute] * 2, options)
workload.report(options, sum(done), seconds, **program.usage())
