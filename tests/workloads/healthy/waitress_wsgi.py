"""waitress: one thread for the sockets, four for the requests. An op is a request."""

import load
import waitress
import workload

load.on(lambda listener: waitress.serve(load.wsgi, sockets=[listener], threads=4), workload.options(__doc__))
