"""Two interpreters with a GIL of their own, one after the other: three busy threads in each. Prints each one's id and
those of its threads. CPython 3.12 and later."""

import os
import sys

try:
    import _interpreters

    def create():
        return _interpreters.create("isolated")

except ImportError:  # 3.12
    import _xxsubinterpreters as _interpreters

    def create():
        return _interpreters.create(isolated=True)


BODY = """
import os, threading, time
tids = []
until = time.monotonic() + %r
def busy():
    tids.append(threading.get_native_id())
    while time.monotonic() < until:
        sum(range(1000))
threads = [threading.Thread(target=busy) for _ in range(3)]
for one in threads: one.start()
for one in threads: one.join()
os.write(1, ("%s interpreter: %d %%s\\n" %% " ".join(map(str, tids))).encode())
"""

seconds = float(sys.argv[1])
os.write(1, b"ready\n")
sys.stdin.readline()
for which in "first", "second":
    interpreter = create()
    _interpreters.run_string(interpreter, BODY % (seconds, which, int(interpreter)))
    _interpreters.destroy(interpreter)
os.write(1, b"done\n")
sys.stdin.read()
