#!/usr/bin/env python3
"""Reads an `hdr` field of a report (base64, on standard input) and prints what it holds as JSON.

It uses PyPI's `hdrhistogram`, an implementation that has nothing in common with gilscope's, to prove
that the field is HdrHistogram's own format:

    python3 -m venv venv && venv/bin/pip install hdrhistogram
    venv/bin/python read_hdr.py < hdr.txt

The maximum and the quantiles are the highest value of their bucket, where gilscope's own figures are
never above the exact maximum. This library rounds the rank of a percentile to the nearest where
HdrHistogram's others round it up; so it is asked for the percentile that is a whole rank.
"""

import json
import math
import sys

from hdrh.histogram import HdrHistogram

histogram = HdrHistogram.decode(sys.stdin.read().strip())
count = histogram.get_total_count()


def percentile(percent):
    rank = max(1, math.ceil(percent * count / 100))
    return histogram.get_value_at_percentile(100 * rank / count)


json.dump(
    {
        "count": count,
        "p50_ns": percentile(50),
        "p90_ns": percentile(90),
        "p99_ns": percentile(99),
        "p99_9_ns": percentile(99.9),
        "max_ns": histogram.get_max_value(),
    },
    sys.stdout,
)
print()
