import asyncio
import sys

from gateway import ConnectionLost, Gateway, GatewayError


async def main(url: str, token: str) -> None:
    async with Gateway(url, token=lambda reason: token) as shop:
        shop.on("order.changed", lambda order: print("changed", order))
        try:
            order = await shop.request("order.place", {"article": "tea", "amount": 1})
            print("placed by", order["placedBy"])
            await shop.request("order.place", {"article": "sold-out", "amount": 1})
        except GatewayError as error:
            print(error.code)
        except ConnectionLost as error:
            print("look whether it was placed" if error.maybe_executed else "not placed")


asyncio.run(main(sys.argv[1], sys.argv[2]))
