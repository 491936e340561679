"""uvicorn, one process. An op is a request."""

import asyncio

import load
import uvicorn
import workload


async def application(scope, receive, send):
    await asyncio.sleep(0.005)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": load.page()})


def serve(listener):
    uvicorn.Server(uvicorn.Config(application, lifespan="off", log_level="warning")).run(sockets=[listener])


load.on(serve, workload.options(__doc__))
