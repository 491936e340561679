"""Busy threads, and pollers, that are there, idle, before the work and after it, so that what the kernel counted of each can be read at both ends.

It prints 'idle', waits for a line, prints 'done' after the work, and ends with its standard input. A poller sleeps for 10 ms at a time. With --spread 1
the threads are bound to the CPUs in turn: on one they never meet.
"""

import sys
import threading
import time

import workload

options = workload.options(__doc__, threads=4, pollers=0, spread=0)
begin, end = threading.Event(), threading.Event()
done = threading.Semaphore(0)


def poll():
    while not workload.stopping:
        time.sleep(0.01)


def thread(index, work):
    if options.spread:
        workload.bind_to_cpu(index)
    begin.wait()
    work()
    done.release()
    end.wait()


works = [workload.spin] * options.threads + [poll] * options.pollers
threads = [threading.Thread(target=thread, args=item) for item in enumerate(works)]
for each in threads:
    each.start()
workload.say("idle")
sys.stdin.readline()
begin.set()
time.sleep(options.seconds)
workload.stopping = True
for each in threads:
    done.acquire()
workload.say("done")
sys.stdin.read()
end.set()
