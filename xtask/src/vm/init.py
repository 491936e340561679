#!/usr/bin/python3.11
"""The first and only job of the virtual machine: gilscope's smoke test. Each check is a line of JSON on the second serial port."""

import ctypes
import glob
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

GILSCOPE = "/job/gilscope"
libc = ctypes.CDLL(None, use_errno=True)


def say(check, bad, detail=""):
    print(json.dumps({"check": check, "bad": bad, "detail": detail}), flush=True)


def mount(kind, where):
    os.makedirs(where, exist_ok=True)
    if libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None) != 0:
        raise OSError(ctypes.get_errno(), "mount " + where)


def lost(loss, told):
    """What is a fault of the losses: all, but where programs can be preempted the kernel leaves out those that meet one on
    its processor (seen on 7.2)."""
    if not any(loss.values()):
        return []
    version = tuple(int(part) for part in os.uname().release.split(".")[:2])
    only_left_out = "lost: 0 records, 0 entries, 0 reads;" in told and not loss["waits_lost"]
    return [] if only_left_out and version >= (7, 0) else ["lost: %s: %s" % (loss, told)]


def faults(process):
    """What cannot be true of this part of a report."""
    bad = []
    gils = [gil for thread in process["threads"] for gil in thread["gil"]]
    for kind in ("count", "sum_ns"):
        of_threads = sum(gil["wait"][kind] for gil in gils)
        if of_threads != process["gil_wait"][kind]:
            bad.append("%s: %d of all, %d of the threads" % (kind, process["gil_wait"][kind], of_threads))
    if not process["gil_wait"]["count"]:
        bad.append("no waits")
    for thread in process["threads"]:
        cpu, life_ns = thread["cpu"], thread["observed_ns"]
        waited_ns = sum(gil["wait"]["sum_ns"] for gil in thread["gil"])
        if cpu["on_cpu_ns"] + cpu["runnable_ns"] > life_ns or waited_ns > life_ns:
            did = (cpu["on_cpu_ns"], cpu["runnable_ns"], waited_ns, life_ns)
            bad.append("thread %d did more than it lived: on the CPU %d, runnable %d, waited %d of %d" % ((thread["tid"],) + did))
        if sum(gil["voluntary_switches"] for gil in thread["gil"]) > cpu["voluntary_switches"]:
            bad.append("thread %d switched more for the GIL than in all" % thread["tid"])
    return bad


def read(path, told):
    with open(path) as file:
        report = json.load(file)
    [process] = report["processes"]
    wait = process["gil_wait"]
    detail = "%d waits, %.2f s" % (wait["count"], wait["sum_ns"] / 1e9)
    if report["loss"]["events_lost"]:
        detail += ", %d events left out" % report["loss"]["events_lost"]
    return process, faults(process) + lost(report["loss"], told), detail


def verified(pid):
    """Programs that the process has loaded, and the verifier's work for the largest (told since 5.16)."""
    instructions = []
    for path in glob.glob("/proc/%d/fdinfo/*" % pid):
        try:
            with open(path) as file:
                lines = dict(line.split(":", 1) for line in file if ":" in line)
        except FileNotFoundError:  # Closed meanwhile.
            continue
        if "prog_type" in lines:
            instructions.append(int(lines.get("verified_insns", 0)))
    largest = max(instructions, default=0)
    return "%d programs" % len(instructions) + (", at most %d instructions verified" % largest if largest else "")


def attached(name, *options):
    """A process that runs already."""
    target = subprocess.Popen([sys.executable, "/job/%s.py" % name, "--seconds", "600"], stdout=subprocess.PIPE, text=True)
    target.stdout.readline()
    tracer = subprocess.Popen(
        [GILSCOPE, "-v", "--pid", str(target.pid), "--duration", "5s", "--json", "/tmp/report.json", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    announced = tracer.stderr.readline()
    programs = verified(tracer.pid)
    failed = announced + tracer.communicate()[1]
    target.kill()
    if tracer.returncode:
        return [failed], ""
    _, bad, detail = read("/tmp/report.json", failed)
    return bad, detail + "; " + programs


def body(index, counts):
    """Spins, or sleeps often; then writes down the kernel's own count of its switches."""
    end = time.monotonic() + 3
    while time.monotonic() < end:
        if index == 0:
            time.sleep(0.002)
    with open("/proc/thread-self/status") as status:
        counts[threading.get_native_id()] = [int(line.split()[1]) for line in status if "ctxt_switches" in line]


def switches():
    """The command: its threads' own figures."""
    counts = {}
    threads = [threading.Thread(target=body, args=(index, counts)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open("/tmp/switches.json", "w") as file:
        json.dump(counts, file)


def started(*options):
    """A command from its start. A thread lives a little longer than its own count tells."""
    command = [GILSCOPE, "-v", *options, "--json", "/tmp/report.json", "--", sys.executable, "/init", "switches"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        return [run.stderr], ""
    process, bad, detail = read("/tmp/report.json", run.stderr)
    with open("/tmp/switches.json") as file:
        counts = {int(tid): count for tid, count in json.load(file).items()}
    compared = 0
    for thread in process["threads"]:
        for ours, kernels in zip(
            [thread["cpu"]["voluntary_switches"], thread["cpu"]["involuntary_switches"]], counts.get(thread["tid"], [])
        ):
            compared += 1
            if not kernels <= ours <= kernels + 10 + kernels // 5:
                bad.append("thread %d: %d switches, the kernel has %d" % (thread["tid"], ours, kernels))
    return bad + ["compared %d counts" % compared] * (compared != 6), detail


def limit_memory():
    """64 KiB may be locked, and the limit cannot be raised: CAP_SYS_RESOURCE is 24, PR_CAPBSET_DROP too."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 16, 1 << 16))
    if libc.prctl(24, 24, 0, 0, 0) != 0:
        os._exit(99)


def limited():
    """Before 5.11 maps count against that limit: it is said so. Later they do not."""
    command = [GILSCOPE, "-v", "--json", "/tmp/report.json", "--", sys.executable, "/job/spin.py", "--seconds", "2"]
    run = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit_memory)
    version = tuple(int(part) for part in os.uname().release.split(".")[:2])
    if version < (5, 11):
        told = run.returncode == 125 and "ulimit -l unlimited" in run.stderr
        return [] if told else [run.stderr], "refused, and said why"
    if run.returncode:
        return [run.stderr], ""
    return read("/tmp/report.json", run.stderr)[1:]


def smoke():
    checks = [
        ("spin, tracefs not mounted", attached, ["spin"]),
        ("churn", attached, ["churn"]),
        ("spin, uprobes", attached, ["spin", "--source", "uprobe"]),
        ("a command", started, []),
        ("a command, uprobes", started, ["--source", "uprobe"]),
        ("64 KiB of locked memory", limited, []),
    ]
    for name, check, arguments in checks:
        try:
            say(name, *check(*arguments))
        except Exception as error:
            say(name, [repr(error)])


def main():
    for kind, where in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")]:
        mount(kind, where)
    port = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
    for descriptor in range(3):
        os.dup2(port, descriptor)
    sys.stdout = open(1, "w", closefd=False)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    say("kernel", [], os.uname().release)
    smoke()
    say("done", [])
    libc.sync()
    with open("/proc/sysrq-trigger", "w") as trigger:
        trigger.write("o")
    time.sleep(60)


if sys.argv[1:] == ["switches"]:
    switches()
else:
    main()
