"""Authenticates with its first message, sends a payload and an e-mail, and waits for the token to expire."""

import asyncio
import json
import sys
import time

import jwt
import websockets


async def main(url: str, secret: str, seconds: int) -> None:
    token = jwt.encode({"sub": "python", "exp": int(time.time()) + seconds}, secret, algorithm="HS256")
    async with websockets.connect(url, subprotocols=["ws-gateway.v1"]) as socket:
        await socket.send(token)
        session = json.loads(await socket.recv())
        print("session", session["data"]["subject"])

        await socket.send(json.dumps({"event": "message", "data": {"text": "hello"}, "id": 1}))
        print("message", (await answer_to(socket, 1))["data"]["text"])

        await socket.send(json.dumps({"event": "email", "data": {"email": " Ada@EXAMPLE.org "}, "id": 2}))
        print("email", (await answer_to(socket, 2))["data"]["email"])

        await socket.send(json.dumps({"event": "email", "data": {"email": "nobody"}, "id": 3}))
        print("refused", (await answer_to(socket, 3))["data"]["code"])

        try:
            while True:
                frame = json.loads(await socket.recv())
                if frame["event"] == "disconnect":
                    print("disconnect", frame["data"]["code"], frame["data"]["reconnect"])
        except websockets.ConnectionClosed:
            print("closed", socket.close_code)


async def answer_to(socket, request_id: int) -> dict:
    while True:
        frame = json.loads(await socket.recv())
        if frame.get("id") == request_id:
            return frame


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
