"""Takes TLS on one port and passes what it carries to another: `port onward certificate key authority ask|trust`."""

import asyncio
import ssl
import sys
from contextlib import suppress


async def main(port: int, onward: int, context: ssl.SSLContext) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, commands = await asyncio.open_connection("127.0.0.1", onward)
        with suppress(OSError):
            await asyncio.gather(_pump(reader, commands), _pump(answers, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", port, ssl=context) as server:
        await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


if __name__ == "__main__":
    at, to, certificate, key, authority, clients = sys.argv[1:]
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    tls.load_cert_chain(certificate, key)
    tls.verify_mode = ssl.CERT_REQUIRED if clients == "ask" else ssl.CERT_NONE
    asyncio.run(main(int(at), int(to), tls))
