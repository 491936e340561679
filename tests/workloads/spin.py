"""Busy threads: each wants the GIL all the time. An op is a turn of a counting loop."""

import workload

options = workload.options(__doc__, threads=4)
rounds, seconds = workload.run([workload.spin] * options.threads, options)
workload.report(options, sum(rounds), seconds)
