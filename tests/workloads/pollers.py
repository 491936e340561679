"""Many idle threads that wake every 10 ms to look for work, beside one that has some. An op is a turn of its loop."""

import time

import workload


def poll():
    polls = 0
    while not workload.stopping:
        time.sleep(0.01)
        polls += 1
    return polls


options = workload.options(__doc__, pollers=50)
done, seconds = workload.run([workload.spin] + [poll] * options.pollers, options)
workload.report(options, done[0], seconds, polls=sum(done[1:]))
