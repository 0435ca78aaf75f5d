"""A client of the gateway on `websockets`: comes back when the server says so, refreshes its token, obeys budgets.

    async with Gateway("wss://api.example.com/ws", token=lambda reason: fetch_token()) as shop:
        order = await shop.request("order.place", {"article": "tea", "amount": 1})

Copy it: it is one file, and needs websockets 10 or newer.
"""

import asyncio
import inspect
import json
import random
from typing import Any, AsyncIterator, Callable, Optional

import websockets

STAY_AWAY = {1002, 1003, 1007, 1009, 3000, 3003}  # without a `disconnect`; and 44nn
LATER = {429, 500, 502, 503, 504}  # statuses of a refused handshake after which it may go better
MAX_UNREAD = 1_000
MAX_IN_FLIGHT = 64
MAX_BATCH = 100


class GatewayError(Exception):
    """The server's answer to a request that failed."""

    def __init__(self, data: dict) -> None:
        super().__init__(f"{data['code']}: {data.get('message', '')}")
        self.code: str = data["code"]
        self.retryable: bool = data.get("retryable", False)
        self.retry_after: Optional[float] = data["retryAfterMs"] / 1000 if "retryAfterMs" in data else None
        self.details = data.get("details")


class ConnectionLost(Exception):
    """TIMEOUT, CONNECTION_LOST, CLOSED or TOO_SLOW. `maybe_executed` says whether the handler may have run."""

    def __init__(self, code: str, maybe_executed: bool, disconnect: Optional[dict] = None) -> None:
        super().__init__(code if disconnect is None else f"{code}: {disconnect['code']}")
        self.code, self.maybe_executed, self.disconnect = code, maybe_executed, disconnect


class Channel:
    """A subscription that outlives its connections."""

    def __init__(self, name: str, listener: Callable[[str, Any], None], position: Optional[dict]) -> None:
        self.name, self.listener, self.position = name, listener, position
        self.phase = "missing"  # then asked, then subscribed or refused


class Gateway:
    """All times are seconds. `token` gets the reason: connect, reconnect, expiring or expired; it may be a coroutine function."""

    def __init__(self, url: str, token: Optional[Callable[[str], Any]] = None, *, timeout: float = 10, base: float = 1,
                 longest: float = 30, stable: float = 10, silence: float = 30, answer: float = 10) -> None:
        self._url, self._token, self._timeout = url, token, timeout
        self._base, self._longest, self._stable = base, longest, stable
        self._liveness = {"ping_interval": silence, "ping_timeout": answer, "close_timeout": 1}
        self._answers: dict[int, asyncio.Queue] = {}
        self._listeners: dict[str, list[Callable[[Any], None]]] = {}
        self._channels: dict[str, Channel] = {}
        self._subscribing: dict[int, list[Channel]] = {}
        self._again: Optional[asyncio.TimerHandle] = None
        self._socket: Any = None
        self._next_id = 1
        self._held_until = 0.0
        self._spent_token: Optional[str] = None
        self._shown_token: Optional[str] = None
        self._refresh: Optional[asyncio.Task] = None
        self.session: Optional[dict] = None
        self.last_disconnect: Optional[dict] = None

    async def __aenter__(self) -> "Gateway":
        self._in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._change = asyncio.Event()
        self._runner = asyncio.ensure_future(self._run())
        return self

    async def __aexit__(self, *_: Any) -> None:
        self._runner.cancel()
        await asyncio.gather(self._runner, return_exceptions=True)

    def on(self, event: str, listener: Callable[[Any], None]) -> None:
        """Calls it with the data of each push, over all connections."""
        self._listeners.setdefault(event, []).append(listener)

    def channel(self, name: str, listener: Callable[[str, Any], None], *, since: Optional[dict] = None) -> Channel:
        """Calls it with the event and the data of what is published, over all connections, from the position `since` on. Nothing comes
        twice; `gap` says that something was missed, and `unsubscribed` with `resubscribe: False` that nothing comes any more."""
        if name in self._channels:
            raise ValueError(f"{name} has a listener")
        self._channels[name] = channel = Channel(name, listener, since)
        self._subscribe()
        return channel

    def leave(self, channel: Channel) -> None:
        if self._channels.get(channel.name) is not channel:
            return  # left already; another one may have its name
        del self._channels[channel.name]
        if channel.phase != "missing":
            self._send({"event": "unsubscribe", "data": {"channel": channel.name}})

    async def request(self, event: str, data: Any = None, *, timeout: Optional[float] = None, idempotent: bool = False) -> Any:
        """The reply. The timeout covers waiting and answer; `idempotent` asks again after a lost connection."""
        loop, sent = asyncio.get_running_loop(), False
        deadline = loop.time() + (timeout or self._timeout)

        async def attempt() -> Any:
            nonlocal sent
            while True:
                await self._opened()
                async with self._in_flight:
                    if self._held_until > loop.time():
                        await asyncio.sleep(self._held_until - loop.time())
                        continue
                    try:
                        sent = True
                        return await self._ask(event, data)
                    except GatewayError as error:
                        if error.code != "RATE_LIMITED" or loop.time() + (error.retry_after or 1e9) >= deadline:
                            raise
                        sent = False  # it had no effect
                        self._held_until = max(self._held_until, loop.time() + error.retry_after)
                    except ConnectionLost as error:
                        if not idempotent or error.code == "CLOSED":
                            raise

        try:
            return await asyncio.wait_for(attempt(), deadline - loop.time())
        except asyncio.TimeoutError:
            raise ConnectionLost("TIMEOUT", sent) from None

    async def stream(self, event: str, data: Any = None, *, resume: Optional[Callable[[Any], Any]] = None) -> AsyncIterator[Any]:
        """The values of a streamed reply. Leaving the loop cancels it; `resume` gives what to ask after a lost connection."""
        last = None
        while True:
            await self._opened()
            request_id, answers = self._begin(event, data)
            try:
                while True:
                    kind, value = await answers.get()
                    if kind == "done":
                        return
                    if kind == "failed":
                        raise value
                    last = value
                    yield value
            except ConnectionLost as error:
                if resume is None or error.code != "CONNECTION_LOST":
                    raise
                data = resume(last)
            finally:
                if self._answers.pop(request_id, None) is not None:
                    self._send({"event": "cancel", "data": {"id": request_id}})

    # --- one connection after the other

    async def _run(self) -> None:
        loop, attempt, reason = asyncio.get_running_loop(), 0, "connect"
        while True:
            began = loop.time()
            try:
                disconnect = await self._connection(reason)
            except asyncio.CancelledError:
                self._ended({"code": "CLOSED", "reconnect": False})
                raise
            is_stable = self.session is not None and loop.time() - began >= self._stable
            self._ended(disconnect)
            if not disconnect["reconnect"]:
                return
            attempt = 0 if is_stable else attempt
            reason = "reconnect"
            if disconnect["code"] == "TOKEN_EXPIRED":
                self._spent_token, reason = self._shown_token, "expired"
            await asyncio.sleep(self._pause(attempt, disconnect))
            attempt += 1

    def _pause(self, attempt: int, disconnect: dict) -> float:
        """Full jitter, and never before what the server asks for."""
        if disconnect["code"] == "TOKEN_EXPIRED" and attempt == 0:
            return 0
        pause = random.uniform(0, min(self._longest, self._base * 2**attempt))
        if "retryAfterMs" not in disconnect:
            return pause
        asked = disconnect["retryAfterMs"] / 1000
        asked += random.uniform(0, min(1, asked / 10))
        return asked if attempt == 0 else max(asked, pause)

    async def _connection(self, reason: str) -> dict:
        """One connection. Returns why it ended."""
        try:
            token = await self._fetch(reason)
        except Exception as error:  # of the application
            return {"code": getattr(error, "code", "NO_TOKEN"), "reconnect": not getattr(error, "permanent", False)}
        try:
            async with websockets.connect(self._url, subprotocols=["ws-gateway.v1"], open_timeout=10, **self._liveness) as socket:
                self._socket, self._shown_token = socket, token
                reading = asyncio.ensure_future(self._read(socket))
                try:
                    proof = self._ask("auth", {"token": token}) if token is not None else self._ask("ping")
                    self.session = await asyncio.wait_for(proof, 10) or {}
                    self._change.set()
                    self._subscribe()
                except GatewayError:
                    pass  # the server's disconnect comes behind it
                except ConnectionLost:
                    pass
                return await asyncio.wait_for(reading, None if self.session is not None else 10)
        except websockets.InvalidHandshake as error:
            answer = getattr(error, "response", error)
            status, after = getattr(answer, "status_code", 0), getattr(answer, "headers", {}).get("Retry-After", "")
            wait = {"retryAfterMs": int(after) * 1000} if after.isdigit() else {}
            return {"code": f"HTTP_{status}", "reconnect": status in LATER, **wait}
        except (OSError, asyncio.TimeoutError, websockets.ConnectionClosed):
            return {"code": "CONNECTION_LOST", "reconnect": True}

    async def _read(self, socket: Any) -> dict:
        disconnect = None
        try:
            async for text in socket:
                frame = json.loads(text)
                if frame["event"] == "disconnect" and "id" not in frame:
                    disconnect = frame["data"]
                else:
                    self._receive(frame)
        except websockets.ConnectionClosed:
            pass
        for answers in self._answers.values():
            answers.put_nowait(("failed", ConnectionLost("CONNECTION_LOST", True, disconnect)))
        code = socket.close_code or 1006
        return disconnect or {"code": "CONNECTION_LOST", "reconnect": code not in STAY_AWAY and not 4400 <= code < 4500}

    def _receive(self, frame: dict) -> None:
        event, data, answers = frame["event"], frame.get("data"), self._answers.get(frame.get("id", 0))
        asked = self._subscribing.pop(frame.get("id", 0), None)
        if asked is not None:  # at once: what was missed comes behind it
            for index, channel in enumerate(asked):
                self._subscribed(channel, {"error": data} if event == "exception" else data["channels"][index])
        elif "channel" in frame and self._published(frame["channel"], event, data, frame.get("offset")):
            pass
        elif answers is not None:
            if answers.qsize() >= MAX_UNREAD:
                self._answers.pop(frame["id"])
                self._send({"event": "cancel", "data": {"id": frame["id"]}})
                answers.put_nowait(("failed", ConnectionLost("TOO_SLOW", True)))
            elif event == "exception":
                answers.put_nowait(("failed", GatewayError(data)))
            else:
                answers.put_nowait(("done", None) if frame.get("done") else ("value", data))
        elif "id" not in frame:
            if event == "auth.expiring" and self._token is not None:
                self._refresh = asyncio.ensure_future(self._authenticate())
            for listener in self._listeners.get(event, []):
                asyncio.get_running_loop().call_soon(listener, data)  # its errors are its own

    def _ended(self, disconnect: dict) -> None:
        if self._refresh is not None:
            self._refresh.cancel()
        self._socket, self.session, self.last_disconnect = None, None, disconnect
        code = "CONNECTION_LOST" if disconnect["reconnect"] else "CLOSED"
        for answers in self._answers.values():
            answers.put_nowait(("failed", ConnectionLost(code, True, disconnect)))
        self._answers.clear()
        self._subscribing.clear()
        if self._again is not None:
            self._again.cancel()
        for channel in self._channels.values():
            channel.phase = "missing"
        self._change.set()

    # --- tokens

    async def _fetch(self, reason: str) -> Optional[str]:
        if self._token is None:
            return None
        token = self._token(reason)
        token = await token if inspect.isawaitable(token) else token
        if token == self._spent_token:
            raise ConnectionLost("SAME_TOKEN", False)
        return token

    async def _authenticate(self) -> None:
        """Shows a new token in place; where that fails until the old one ends, the server's TOKEN_EXPIRED does the rest."""
        for pause in (1, 2, 4, 4, 4, 4, 4, 4):
            try:
                token = await self._fetch("expiring")
                self.session, self._shown_token = await self._ask("auth", {"token": token}), token
                return
            except Exception:  # of the application, or the server's
                await asyncio.sleep(pause)

    # --- channels

    def _subscribe(self) -> None:
        missing = [channel for channel in self._channels.values() if channel.phase == "missing"][:MAX_BATCH]
        if self.session is None or not missing:
            return
        self._subscribing[self._next_id] = missing
        asked = []
        for channel in missing:
            channel.phase = "asked"
            asked.append({"channel": channel.name, **({} if channel.position is None else {"since": channel.position})})
        self._send({"event": "subscribe", "id": self._next_id, "data": {"channels": asked}})
        self._next_id += 1
        self._subscribe()

    def _subscribed(self, channel: Channel, answer: dict) -> None:
        if channel.phase != "asked" or self._channels.get(channel.name) is not channel:
            return
        if "error" in answer:
            return self._refused(channel, answer["error"])
        channel.phase, channel.position = "subscribed", None
        if "epoch" in answer:
            channel.position = {"epoch": answer["epoch"], "offset": answer["offset"] - answer.get("replayed", 0)}
        if answer.get("recovered") is False:
            self._tell(channel, "gap", {**(channel.position or {}), "reason": answer.get("reason"), "reloadAfterMs": 0})

    def _refused(self, channel: Channel, error: dict) -> None:
        channel.phase = "missing" if error["retryable"] else "refused"
        if error["retryable"]:
            pause = error.get("retryAfterMs", 0) / 1000 + random.uniform(0, 1)
            if self._again is not None:
                self._again.cancel()
            self._again = asyncio.get_running_loop().call_later(pause, self._subscribe)
        told = {"code": error["code"], "message": error.get("message", ""), "resubscribe": error["retryable"]}
        self._tell(channel, "unsubscribed", told)

    def _published(self, name: str, event: str, data: Any, offset: Optional[int]) -> bool:
        """True for what is of a channel with a listener; the server may have joined the client to others."""
        channel = self._channels.get(name)
        if channel is None or channel.phase != "subscribed":
            return False
        if event == "unsubscribed":
            self._refused(channel, {**data, "retryable": data["resubscribe"]})
            return True
        if event == "gap":
            channel.position = {"epoch": data["epoch"], "offset": data["offset"]}
        elif offset is not None and channel.position is not None:
            if offset <= channel.position["offset"]:
                return True  # it has been here already
            channel.position = {**channel.position, "offset": offset}
        self._tell(channel, event, data)
        return True

    def _tell(self, channel: Channel, event: str, data: Any) -> None:
        asyncio.get_running_loop().call_soon(channel.listener, event, data)  # its errors are its own

    # --- frames

    async def _opened(self) -> None:
        while self.session is None:
            if self._runner.done() or (self.last_disconnect is not None and not self.last_disconnect["reconnect"]):
                raise ConnectionLost("CLOSED", False, self.last_disconnect)
            self._change.clear()
            await self._change.wait()

    def _begin(self, event: str, data: Any = None) -> "tuple[int, asyncio.Queue]":
        request_id, answers = self._next_id, asyncio.Queue()
        self._next_id += 1
        self._answers[request_id] = answers
        self._send({"event": event, "id": request_id, **({} if data is None else {"data": data})})
        return request_id, answers

    async def _ask(self, event: str, data: Any = None) -> Any:
        request_id, answers = self._begin(event, data)
        try:
            kind, value = await answers.get()
        finally:
            self._answers.pop(request_id, None)
        if kind == "failed":
            raise value
        return value

    def _send(self, frame: dict) -> None:
        if self._socket is not None:
            sending = asyncio.ensure_future(self._socket.send(json.dumps(frame)))
            sending.add_done_callback(lambda done: done.cancelled() or done.exception())  # the end of the connection says it
