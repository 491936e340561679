"""Two threads that take two locks in opposite order, beside one that works. An op is a transfer.

The near miss takes them in the same order: its threads wait for each other, and go on.
"""

import threading
import time

import program
import workload

options = workload.options(__doc__, near_miss=False)
accounts = [threading.Lock(), threading.Lock()]
late, transfers = [], []


def transfer(first, second):
    while not workload.stopping:
        with first:
            time.sleep(0.01)
            with second:  # The cause
                transfers.append(1)
        time.sleep(0.001)


program.truth(options, "deadlock", transfer)
orders = [accounts, accounts if options.near_miss else accounts[::-1]]
for order in orders:
    thread = threading.Thread(target=transfer, args=order)
    # It never ends.
    thread.daemon = True
    thread.start()
_, seconds = workload.run([program.beat(0.01, late)], options)
workload.report(options, len(transfers), seconds, **program.milliseconds("beats", late))
