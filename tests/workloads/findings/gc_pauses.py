"""The garbage collector walks a large heap of containers, again and again. An op is a collection.

The objects refer to each other in cycles, as the third example of the talk in `incidents/highcpu.py`. The near miss has as many objects, which hold none
and so, with the tuple that has them, are not the collector's.
"""

import gc
import time

import program
import workload

options = workload.options(__doc__, objects=500000, near_miss=False)
late, pauses = [], []


class Attendee(object):
    """In a cycle with its address."""

    def __init__(self):
        self.address = [self]


def audit():
    collections = 0
    while not workload.stopping:
        began = workload.clock()
        gc.collect()  # The cause
        pauses.append(workload.clock() - began)
        time.sleep(0.05)
        collections += 1
    return collections


# Making them is not to be disturbed.
gc.disable()
heap = tuple(str(number) if options.near_miss else Attendee() for number in range(options.objects))
gc.enable()
program.truth(options, "gc-pauses", audit, also=["native-holds-gil"])
done, seconds = workload.run([audit, program.beat(0.01, late)], options)
figures = dict(program.milliseconds("beats", late), **program.milliseconds("pauses", pauses))
workload.report(options, done[0], seconds, **figures)
