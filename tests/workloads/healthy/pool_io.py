"""A `concurrent.futures` pool of eight threads that ask a server. An op is an answer."""

import concurrent.futures
import http.client
import time

import load
import program
import waitress
import workload

options = workload.options(__doc__)
address, server = load.start(lambda listener: waitress.serve(load.wsgi, sockets=[listener], threads=8), options)
latencies = []


def fetch(_):
    began = workload.clock()
    load.ask(http.client.HTTPConnection(*address, timeout=10))
    latencies.append(workload.clock() - began)


def batches():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        while not workload.stopping:
            list(pool.map(fetch, range(8)))
            # What it does with the answers.
            load.page()
            time.sleep(0.03)


program.truth(options, "healthy")
_, seconds = workload.run([batches], options)
figures = dict(program.end([server]), **program.milliseconds("answers", latencies))
workload.report(options, len(latencies), seconds, **figures)
