"""Two threads that compute by NumPy, without the GIL. An op is a product of matrices."""

import os

# Threads of its own would be another matter.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy
import program
import workload

options = workload.options(__doc__)
matrix = numpy.random.default_rng(1).random((700, 700))
late = []


def multiply():
    products = 0
    while not workload.stopping:
        numpy.sort(matrix @ matrix, axis=0)
        products += 1
    return products


program.truth(options, "healthy")
done, seconds = workload.run([multiply, multiply, program.beat(0.01, late)], options)
workload.report(options, sum(done[:2]), seconds, **dict(program.usage(), **program.milliseconds("beats", late)))
