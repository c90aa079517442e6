#!/usr/bin/env python3
"""A TCP echo server for very many connections at once: echo_server.py PORT. Prints `ready`; ends with its parent."""

import asyncio
import resource
import socket
import sys


async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    server = await asyncio.start_server(echo, sock=socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096))
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
