"""pytest runs a small suite again and again, in one thread. An op is a run."""

import os
import tempfile

import program
import pytest
import workload

SUITE = """
import json, pytest

@pytest.fixture
def document(tmp_path):
    path = tmp_path / "document.json"
    path.write_text(json.dumps({"rows": list(range(1000))}))
    return path

@pytest.mark.parametrize("number", range(20))
def test_row(document, number):
    assert json.loads(document.read_text())["rows"][number] == number
"""
options = workload.options(__doc__)
here, there = os.pipe()


def suite():
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while True:
        began = workload.clock()
        failed = pytest.main(["-q", "-p", "no:cacheprovider", folder])
        os.write(there, b"%d %.6f\n" % (failed, workload.clock() - began))


with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "test_suite.py"), "w") as file:
        file.write(SUITE)
    runner = program.fork(suite, options)
    os.close(there)
    lines = os.fdopen(here)
    # The first imports what it needs.
    lines.readline()
    program.truth(options, "healthy", processes=[runner])
    _, seconds = workload.run([], options)
    figures = program.end([runner])
    runs = [line.split() for line in lines]
figures["failed"] = sum(failed != "0" for failed, _ in runs)
figures.update(program.milliseconds("runs", [float(time) for _, time in runs]))
workload.report(options, len(runs), seconds, **figures)
