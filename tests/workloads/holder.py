"""One thread, the first, has the GIL for a long time at once, and three others want it every millisecond."""

import sys
import threading
import time


def poll():
    while True:
        time.sleep(0.001)


for _ in range(3):
    thread = threading.Thread(target=poll)
    thread.daemon = True
    thread.start()
many = tuple(range(2000000))
sys.stdout.write("ready\n")
sys.stdout.flush()
end = time.time() + 60
while time.time() < end:
    # One call into C, which lets nobody else in.
    sum(many)
