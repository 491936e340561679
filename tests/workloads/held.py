"""Busy threads that are there, idle, before the work and after it, so that what the kernel counted of each can be read at both ends.

It prints 'idle', waits for a line, prints 'done' after the work, and ends with its standard input.
"""

import sys
import threading
import time

import workload

options = workload.options(__doc__, threads=4)
begin, end = threading.Event(), threading.Event()
done = threading.Barrier(options.threads + 1)


def thread():
    begin.wait()
    workload.spin()
    done.wait()
    end.wait()


threads = [threading.Thread(target=thread) for _ in range(options.threads)]
for each in threads:
    each.start()
workload.say("idle")
sys.stdin.readline()
begin.set()
time.sleep(options.seconds)
workload.stopping = True
done.wait()
workload.say("done")
sys.stdin.read()
end.set()
