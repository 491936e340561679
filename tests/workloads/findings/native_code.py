"""Native code that keeps the GIL: a regular expression that backtracks for ever longer. An op is a match.

The near miss spends its time in native code as well, which lets go of the GIL.
"""

import re

import program
import workload

options = workload.options(__doc__, near_miss=False)
pattern = re.compile("(a+)+$")
late = []


def text_for(seconds):
    """One more letter makes it take twice as long: how long that is differs."""
    for length in range(10, 40):
        text = "a" * length + "b"
        began = workload.clock()
        pattern.match(text)
        if workload.clock() - began > seconds:
            return text


def match():
    matches = 0
    while not workload.stopping:
        pattern.match(text)  # The cause
        matches += 1
    return matches


text = text_for(0.1)
program.truth(options, "native-holds-gil", match)
body = program.compress if options.near_miss else match
done, seconds = workload.run([body, program.beat(0.01, late)], options)
workload.report(options, done[0], seconds, **program.milliseconds("beats", late))
