"""Tornado, one process, which does its blocking work in an executor's threads. An op is a request."""

import asyncio
import time

import load
import tornado.httpserver
import tornado.ioloop
import tornado.web
import workload


class Handler(tornado.web.RequestHandler):
    async def get(self):
        await tornado.ioloop.IOLoop.current().run_in_executor(None, time.sleep, 0.005)
        self.write(load.page())


def serve(listener):
    async def main():
        server = tornado.httpserver.HTTPServer(tornado.web.Application([("/", Handler)]))
        listener.setblocking(False)
        server.add_sockets([listener])
        await asyncio.Event().wait()

    asyncio.run(main())


load.on(serve, workload.options(__doc__))
