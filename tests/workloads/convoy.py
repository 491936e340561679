"""The convoy: a thread that answers packets beside busy ones waits for the GIL after each. An op is a packet answered.

The asking side is a child process, so that it needs no GIL of ours; it ends with its end of the socket.
"""

import os
import socket

import workload

options = workload.options(__doc__, busy=2)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
client = os.fork()
if client == 0:
    ours.close()
    try:
        while True:
            theirs.send(b"question")
            if not theirs.recv(64):
                break
    except EnvironmentError:
        pass
    os._exit(0)
theirs.close()


def serve():
    packets = 0
    while not workload.stopping:
        ours.send(ours.recv(64))
        packets += 1
    return packets


done, seconds = workload.run([serve] + [workload.spin] * options.busy, options)
ours.close()
os.waitpid(client, 0)
workload.report(options, done[0], seconds, spins=sum(done[1:]))
