"""Threads whose names are kept in every way that there is. Prints `ready` and the names by the threads' ids."""

import json
import sys
import threading
import time


names = {}


def native_id():
    if hasattr(threading, "get_native_id"):
        return threading.get_native_id()
    # Before 3.8 nothing else tells it; x86-64's gettid.
    import ctypes

    return ctypes.CDLL(None).syscall(186)


def work():
    names[native_id()] = threading.current_thread().name
    while True:
        time.sleep(0.001)


class Own(threading.Thread):
    """Has attributes before `Thread` sets its own."""

    def __init__(self, name, attributes):
        for number in range(attributes):
            setattr(self, "attribute_%d" % number, "value %d" % number)
        threading.Thread.__init__(self, target=work, name=name)


class Narrow(threading.Thread):
    """Has a slot as well."""

    __slots__ = ("slot",)


threads = [
    threading.Thread(target=work, name="plain"),
    threading.Thread(target=work),
    threading.Thread(target=work, name=u"caf\u00e9" if sys.version_info[0] > 2 else "cafe"),
    threading.Thread(target=work, name="long " * 40),
    Own("of a class", 3),
    Own("with many", 60),
    Narrow(target=work, name="slotted"),
]
# From then on it has a dictionary of its own.
vars(threads[0])["extra"] = 1
renamed = threading.Thread(target=work, name="before")
renamed.name = "renamed"
threads.append(renamed)
for thread in threads:
    thread.daemon = True
    thread.start()
while len(names) < len(threads):
    time.sleep(0.01)
sys.stdout.write("ready %s\n" % json.dumps(names))
sys.stdout.flush()
time.sleep(60)
