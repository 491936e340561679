"""Five cameras and a logger that want to be on time, beside threads that compute in Python. An op is a countdown.

The incident: "Why is my Python app stalled with 'system' / kernel CPU time" (Stack Overflow). CPython 2.7 on 64 cores; some 183 threads;
five cameras read by ctypes; a thread that sleeps 0.2 s and logs the CPU's figures, whose sleep took up to 17 s, and whose cameras dropped
frames whenever it took long; 25 threads at 0.9 of a CPU each of *system* time. Halving the processing ended it. Found after more than three
months: the GIL thrashes. The author's proof is the countdown below in two threads: 13.2 s of system time beside 14.7 s of user
time on 2.7, 0.2 s beside 15.0 s on 3.4. (Later OpenCV's own threads were found to have a part in it.)

So on 3.2 and later the threads' finding is another: who wants to be on time waits for the GIL behind those that compute. A frame each 40 ms is
this program's own choice. The near miss processes as most of that application did, without the GIL (there OpenCV and NumPy, here zlib), in two threads.
"""

import sys

import program
import workload

options = workload.options(__doc__, threads=16, cameras=5, near_miss=False)
FRAME = 0.04


def countdown():
    done = 0
    while not workload.stopping:
        n = 10000
        while n > 0:  # The cause
            n -= 1  # The cause
        done += 1
    return done


frames, pauses = [], []
program.truth(options, "gil-thrash" if sys.version_info < (3, 2) else "convoy", countdown, also=["tight-loop", "convoy"])
processing = [program.compress] * 2 if options.near_miss else [countdown] * options.threads
others = [program.beat(FRAME, frames)] * options.cameras + [program.beat(0.2, pauses)]
done, seconds = workload.run(processing + others, options, spread=True)
figures = dict(program.milliseconds("frames", frames), **program.milliseconds("pauses", pauses))
figures.update(program.usage(), dropped=sum(late > FRAME for late in frames))
workload.report(options, sum(done[: len(processing)]), seconds, **figures)
