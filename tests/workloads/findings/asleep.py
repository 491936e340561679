"""A thread asleep in a system call with the GIL held, as by a binding that does not let go of it. An op is a sleep.

The near miss calls the same function with the GIL let go.
"""

import ctypes
import time

import program
import workload

options = workload.options(__doc__, near_miss=False)
library = (ctypes.CDLL if options.near_miss else ctypes.PyDLL)(None)
late = []


def sleep():
    sleeps = 0
    while not workload.stopping:
        library.usleep(100000)  # The cause
        # Others get it now and then.
        time.sleep(0.001)
        sleeps += 1
    return sleeps


program.truth(options, "asleep-with-gil", sleep)
done, seconds = workload.run([sleep, program.beat(0.01, late)], options)
workload.report(options, done[0], seconds, **program.milliseconds("beats", late))
