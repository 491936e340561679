"""More busy threads than a semaphore's last turns are remembered of. An op is a turn of a counting loop."""

import workload

options = workload.options(__doc__, threads=16)
rounds, seconds = workload.run([workload.spin] * options.threads, options)
workload.report(options, sum(rounds), seconds)
