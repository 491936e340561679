"""A server of asyncio's own streams. An op is a request."""

import asyncio

import load
import workload


async def answer(reader, writer):
    while await reader.readuntil(b"\r\n\r\n"):
        await asyncio.sleep(0.005)
        body = load.page()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


async def answer_until_closed(reader, writer):
    try:
        await answer(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def serve(listener):
    async def main():
        await (await asyncio.start_server(answer_until_closed, sock=listener)).serve_forever()

    asyncio.run(main())


load.on(serve, workload.options(__doc__))
