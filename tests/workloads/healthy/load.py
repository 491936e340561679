"""A moderate load on a server of this machine, and what the servers answer."""

import html
import http.client
import signal
import socket
import time

import program
import workload


def page():
    """Some work a request."""
    rows = ("<td>%s</td>" % html.escape("row %d" % number) for number in range(200))
    return "".join(rows).encode()


def wsgi(environ, start_response):
    # The database.
    time.sleep(0.005)
    body = page()
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(body)))])
    return [body]


def start(serve, options):
    """The address of a server that runs as a child process, and that process."""
    # asyncio sends at once only by a socket whose protocol is named; else an answer in two parts takes 40 ms more.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    address, server = listener.getsockname(), program.fork(lambda: serve(listener), options)
    listener.close()
    ask(http.client.HTTPConnection(*address, timeout=10))
    return address, server


def ask(connection):
    connection.request("GET", "/")
    response = connection.getresponse()
    if response.status != 200 or not response.read():
        raise Exception("no answer")


def on(serve, options):
    """Asks a server from outside, at fixed times, by connections that stay; reports how many requests were due, how many answered, how fast."""
    address, server = start(serve, options)
    program.truth(options, "healthy", processes=[server])
    latencies, clients, period = [], 4, 0.04

    def client():
        connection = http.client.HTTPConnection(*address, timeout=10)
        due = workload.clock()
        while not workload.stopping:
            ask(connection)
            latencies.append(workload.clock() - due)
            # A late answer makes the next one late, as it does for whoever waits.
            due += period
            time.sleep(max(0, due - workload.clock()))
        connection.close()

    _, seconds = workload.run([client] * clients, options)
    figures = program.end([server], signal.SIGTERM)
    figures.update(program.milliseconds("answers", latencies))
    workload.report(options, len(latencies), seconds, due=round(clients * seconds / period), **figures)
