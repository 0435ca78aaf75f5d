"""Buys a one-time ticket with its token, connects with the ticket, and refreshes its session before the token expires."""

import asyncio
import json
import sys
import time
from urllib.request import Request, urlopen

import jwt
import websockets


def token(secret: str, seconds: int) -> str:
    return jwt.encode({"sub": "python", "exp": int(time.time()) + seconds}, secret, algorithm="HS256")


async def main(http: str, ws: str, secret: str) -> None:
    headers = {"Authorization": f"Bearer {token(secret, 20)}"}
    with urlopen(Request(f"{http}/tickets", method="POST", headers=headers)) as response:
        ticket = json.load(response)["ticket"]

    async with websockets.connect(f"{ws}?ticket={ticket}", subprotocols=["ws-gateway.v1"]) as socket:
        await socket.send(json.dumps({"event": "session", "id": 1}))
        async for text in socket:
            frame = json.loads(text)
            if frame.get("id") == 1:
                print("session", frame["data"]["subject"])
            elif frame["event"] == "auth.expiring":
                await socket.send(json.dumps({"event": "auth", "data": {"token": token(secret, 600)}, "id": 2}))
            elif frame.get("id") == 2:
                print("refreshed", frame["event"])
                break

    async with websockets.connect(f"{ws}?ticket={ticket}") as replay:
        print("replay", json.loads(await replay.recv())["data"]["code"])


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3]))
