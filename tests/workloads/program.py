"""What the programs with a known finding share: the truth about them, children, and figures that show the symptom.

CPython 2.7 and 3.6 to 3.15, as `workload`. By hand, with or without --near-miss:

    PYTHONPATH=tests/workloads python3 tests/workloads/incidents/udp_echo.py --seconds 60
"""

import json
import linecache
import os
import resource
import signal
import sys
import time

import workload

# Of getrusage(2): this thread. 2.7 does not name it.
THREAD = 1
image = b"x" * 8000000


def truth(options, finding, cause=None, also=(), processes=()):
    """The first line of output: what a tracer has to find, and where: in the lines of the function `cause` that are marked.

    `also`: what it may say as well, and not be wrong. `processes`: where it is, if not in this one. A near miss is healthy.
    """
    is_near = getattr(options, "near_miss", False)
    told = {"finding": "healthy" if is_near else finding, "processes": list(processes) or [os.getpid()]}
    if is_near:
        told["near"] = finding
    else:
        told["also"] = list(also)
    if cause and not is_near:
        code = cause.__code__
        around = range(code.co_firstlineno, code.co_firstlineno + 40)
        lines = [line for line in around if "# The cause" in linecache.getline(code.co_filename, line)]
        told.update(function=code.co_name, file=code.co_filename, lines=lines)
    workload.say(json.dumps(told))


def fork(body, options):
    """The id of a child process that runs it, and does not outlive its parent by long if that is killed."""
    child = os.fork()
    if child == 0:
        signal.alarm(int(options.seconds) + 5)
        try:
            body()
        except Exception:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(0)
    return child


def end(children, number=signal.SIGKILL):
    """Ends them; what the kernel counted of all of them."""
    for child in children:
        os.kill(child, number)
        os.waitpid(child, 0)
    return usage(resource.RUSAGE_CHILDREN)


def usage(who=resource.RUSAGE_SELF):
    """What the kernel counted of this process, its ended threads as well, or of this thread: seconds, and context switches."""
    used = resource.getrusage(who)
    return {
        "user": round(used.ru_utime, 3),
        "system": round(used.ru_stime, 3),
        "voluntary": used.ru_nvcsw,
        "involuntary": used.ru_nivcsw,
    }


def beat(period, late):
    """The body of a thread that wants to run every `period` seconds, and notes by how much it is late."""

    def body():
        while not workload.stopping:
            began = workload.clock()
            time.sleep(period)
            late.append(workload.clock() - began - period)
        return len(late)

    return body


def compress():
    """The body of a thread that computes without the GIL. (`hashlib` keeps it in a 2.7 that has no OpenSSL.)"""
    # Not every build has it.
    import zlib

    images = 0
    while not workload.stopping:
        zlib.compress(image, 1)
        images += 1
    return images


def milliseconds(name, times):
    """Their number, median and longest, for the result."""
    times = sorted(times) or [0.0]
    middle, longest = (round(1000 * times[at], 3) for at in (len(times) // 2, -1))
    return {name: len(times), name + "_p50_ms": middle, name + "_max_ms": longest}
