"""One thread makes functions, runs them and throws them away: the code of the next lies where that of the last did. Each one's name says the file
and the line that it is on. Others want the GIL every millisecond."""

import sys
import threading
import time

many = tuple(range(500000))


def poll():
    while True:
        time.sleep(0.001)


def run(number):
    source = "\n" * number + "def line_%04d():\n    return sum(many)\n" % (number + 2)
    names = {"many": many}
    exec(compile(source, "line_%04d.py" % (number + 2), "exec"), names)
    names["line_%04d" % (number + 2)]()


for _ in range(2):
    thread = threading.Thread(target=poll)
    thread.daemon = True
    thread.start()
sys.stdout.write("ready\n")
sys.stdout.flush()
end, number = time.time() + 60, 0
while time.time() < end:
    number = (number + 1) % 997
    run(number)
