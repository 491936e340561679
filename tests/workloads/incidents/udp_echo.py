"""A thread that echoes UDP packets beside one that spins. An op is an echo.

The incident: "The Python GIL Visualized" (Beazley, 2010). CPython 2.6 with a GIL that logs its events, on OS X and two CPUs: a thread that does nothing but
`recvfrom` and `sendto`, and one "mindlessly spinning". From a packet's arrival to the return of `recvfrom` some 17,000 interpreter ticks pass, and
34,000 more from `sendto` to the next `recvfrom`: each of the two calls has to get the GIL back. "Multiple I/O bound threads work great [...] If one of them
suddenly wakes up and decides it wants to parse a huge XML file or something, then all bets are off." It was found by instrumenting the
interpreter and drawing a PNG with a script. A reader asks how the new GIL of 3.2 does: it is better for the spinner, and 5 ms a call for the echo.

The packets come from a child process, one after the other, with a pause in between (10 ms is this program's own choice). The near miss compresses in the place of spinning, without the GIL.
"""

import os
import socket
import time

import program
import workload

options = workload.options(__doc__, busy=1, interval=10, near_miss=False)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
here, there = os.pipe()
switches = []


def ask():
    """The other side: it needs no GIL of ours."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True:
        began = workload.clock()
        client.sendto(b"question", server.getsockname())
        client.recv(64)
        os.write(there, ("%.6f\n" % (workload.clock() - began)).encode())
        time.sleep(options.interval / 1000.0)


def echo():
    echoes = 0
    server.settimeout(0.5)
    while not workload.stopping:
        try:
            message, address = server.recvfrom(1024)
        except socket.timeout:
            continue
        server.sendto(message, address)
        echoes += 1
    switches.append(program.usage(program.THREAD)["voluntary"])
    return echoes


program.truth(options, "convoy", workload.spin, also=["tight-loop", "gil-thrash"])
client = program.fork(ask, options)
os.close(there)
busy = [program.compress if options.near_miss else workload.spin] * options.busy
done, seconds = workload.run([echo] + busy, options, spread=True)
figures = program.end([client])
with os.fdopen(here) as answers:
    figures = dict(figures, **program.milliseconds("echoes", map(float, answers)))
# One is its wait for the packet.
figures["more_switches_an_echo"] = float(switches[0]) / max(1, done[0]) - 1
workload.report(options, done[0], seconds, **figures)
