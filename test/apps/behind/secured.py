"""An application without a check of its own: a bad message is an exception, and a slow handler makes all others wait."""
import asyncio, json, sys
from urllib.parse import unquote
import websockets

rooms = {}


async def chat(websocket):
    who = unquote(websocket.request_headers["X-Auth-Subject"])
    async for message in websocket:
        data = json.loads(message)
        members = rooms.setdefault(data["room"], set())
        members.add(websocket)
        websockets.broadcast(members, json.dumps({"from": who, "text": data["text"].strip()}))


async def main():
    async with websockets.serve(chat, "127.0.0.1", int(sys.argv[1])):
        await asyncio.Future()


asyncio.run(main())
