import asyncio, sys
import websockets


async def echo(websocket):
    async for message in websocket:
        await websocket.send(f"Server received: {message}")


async def main():
    async with websockets.serve(echo, "127.0.0.1", int(sys.argv[1])):
        await asyncio.Future()


asyncio.run(main())
