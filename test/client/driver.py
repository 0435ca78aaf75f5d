"""Drives test/apps/clients/gateway.py by lines of JSON: what comes of each goes out as a line of its own."""

import asyncio
import json
import sys

sys.path.insert(0, sys.argv[1])
from gateway import Channel, ConnectionLost, Gateway, GatewayError  # noqa: E402

tokens = 0


def say(**members) -> None:
    print(json.dumps(members), flush=True)


def token(reason: str) -> str:
    global tokens
    tokens += 1
    say(token=tokens, reason=reason)
    return f"t.{tokens}.t"


def listen(gateway: Gateway, name: str) -> Channel:
    return gateway.channel(name, lambda event, data: say(channel=name, event=event, data=data))


async def do(gateway: Gateway, channels: dict, act: dict) -> None:
    n = act["n"]
    try:
        if act["do"] == "rejoin":
            left = channels[act["channel"]]
            gateway.leave(left)
            channels[act["channel"]] = listen(gateway, act["channel"])
            gateway.leave(left)
            say(n=n)
        elif act["do"] == "request":
            say(n=n, value=await gateway.request(act["event"], act.get("data"), **act.get("options", {})))
        else:
            values = []
            async for value in gateway.stream(act["event"], act.get("data"), resume=lambda last: {"from": last + 1}):
                values.append(value)
                if len(values) >= act["most"]:
                    break
            say(n=n, value=values)
    except (GatewayError, ConnectionLost) as error:
        say(n=n, code=error.code, maybe=getattr(error, "maybe_executed", None))


async def main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    doing = []
    async with Gateway(sys.argv[2], token, base=0.01, stable=0.01, silence=0.3, answer=0.2) as gateway:
        gateway.on("news", lambda data: say(news=data))
        channels = {name: listen(gateway, name) for name in sys.argv[3:]}
        while line := await lines.readline():
            doing.append(asyncio.ensure_future(do(gateway, channels, json.loads(line))))
        await asyncio.gather(*doing)


asyncio.run(main())
