"""Pairs of threads that ping-pong a byte over two pipes. An op is a round trip."""

import os

import workload


def pair():
    there, back = os.pipe(), os.pipe()

    def ping():
        trips = 0
        while not workload.stopping:
            os.write(there[1], b"x")
            os.read(back[0], 1)
            trips += 1
        os.close(there[1])
        return trips

    def pong():
        while os.read(there[0], 1):
            os.write(back[1], b"x")
        return 0

    return [ping, pong]


options = workload.options(__doc__, pairs=4)
bodies = [body for _ in range(options.pairs) for body in pair()]
trips, seconds = workload.run(bodies, options, spread=True)
workload.report(options, sum(trips), seconds)
