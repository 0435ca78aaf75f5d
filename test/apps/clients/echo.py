"""Has everything echoed that a client can send: texts, bytes, fragments, pings, and messages of up to 16 MiB."""

import asyncio
import sys

import websockets


async def main(url: str) -> None:
    async with websockets.connect(url, max_size=None) as socket:
        for size in (0, 1, 125, 126, 65_535, 65_536, 16 * 1_048_576):
            for message in ("x" * size, bytes(size)):
                await socket.send(message)
                assert await socket.recv() == message, f"{type(message).__name__} of {size}"
        await socket.send(["κόσ", "με ", "😀"])
        assert await socket.recv() == "κόσμε 😀"
        await socket.send([b"\x00", b"\xff"])
        assert await socket.recv() == b"\x00\xff"
        await (await socket.ping(b"payload"))
    assert socket.close_code == 1000
    print("echoed")


asyncio.run(main(sys.argv[1]))
