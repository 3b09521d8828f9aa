"""The peer of run-mllp: python-hl7's own asynchronous MLLP server; it parses every message and acknowledges it, and keeps nothing. Prints its port."""
import asyncio
from hl7.mllp import start_hl7_server


async def answer(reader, writer):
    try:
        while not reader.at_eof():
            message = await reader.readmessage()
            writer.writemessage(message.create_ack())
            await writer.drain()
    except asyncio.IncompleteReadError:
        pass
    writer.close()


async def main():
    server = await start_hl7_server(answer, host="127.0.0.1", port=0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
