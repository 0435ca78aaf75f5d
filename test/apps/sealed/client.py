"""Asks for a payout to an account that only the gateway is to see, and prints its receipt."""

import asyncio
import json
import sys

import websockets

from seal import open_sealed, seal


async def main(url: str, token: str, subject: str, kid: str, k: str) -> None:
    async with websockets.connect(url, subprotocols=["ws-gateway.v1", f"bearer.{token}"]) as socket:
        iban = seal("DE02120300000000202051", "payout.request", subject, kid, k)
        print(await ask(socket, {"amount": 5, "iban": iban}, subject, {kid: k}))
        stolen = seal("DE02120300000000202051", "payout.request", "somebody else", kid, k)
        print(await ask(socket, {"amount": 5, "iban": stolen}, subject, {kid: k}))


async def ask(socket, data: dict, subject: str, keys: dict[str, str]) -> str:
    await socket.send(json.dumps({"event": "payout.request", "data": data, "id": 1}))
    reply = json.loads(await socket.recv())
    if reply["event"] == "exception":
        return f"{reply['data']['code']} {reply['data']['details'][0]['rule']}"
    return json.dumps(open_sealed(reply["data"]["receipt"], "payout.receipt", subject, keys))


asyncio.run(main(*sys.argv[1:]))
