import type { IncomingMessage } from 'node:http';
import type { WebSocket } from 'ws';
import { end, reportClosedByPeer, reportHook } from './failure.js';
import { GatewayError } from '../protocol/errors.js';
import { receive } from './receive.js';
import { isThenable } from './thenable.js';
import { WsSession } from './session.js';

/** A session begins. Its frames wait until every `handleConnection` has settled. */
export function open(session: WsSession, request: IncomingMessage): void {
  const { socket, server } = session;
  server.context.sessions.add(session);
  server.clients.delete(socket); // until it may be written to, see WsSession.open()
  socket.on('message', onMessage);
  socket.on('pong', onPong);
  socket.on('close', onClose);
  socket.on('error', onError);
  const waiting: PromiseLike<unknown>[] = [];
  try {
    server.emit('connection', socket, request);
    for (const gateway of server.router.hooks) {
      if (!session.isLive) return;
      session.hooksCalled++;
      const result = gateway.connected(session, request);
      if (isThenable(result)) waiting.push(result);
    }
  } catch (error) {
    // What has begun is still waited for, so that none of it is an unhandled rejection.
    waiting.push(Promise.reject(error));
  }
  if (waiting.length === 0) return session.open();
  session.block();
  session.opening = Promise.all(waiting)
    .then(
      () => session.open(),
      (error: unknown) => end(session, error),
    )
    .then(() => {
      session.opening = undefined;
      session.unblock();
    });
}

// Shared by all sockets: a closure for each would cost every idle session its memory.

function onMessage(this: WebSocket, data: Buffer, isBinary: boolean): void {
  const session = WsSession.of(this);
  if (isBinary) end(session, new GatewayError('UNSUPPORTED_DATA'));
  else receive(session, data);
}

function onPong(this: WebSocket): void {
  WsSession.of(this).ponged();
}

/** `ws` reports here what it has closed for already, and what TCP says: `close` follows and is what gets reported. */
function onError(this: WebSocket): void {
  if (this.isPaused) this.resume();
}

function onClose(this: WebSocket, closeCode: number): void {
  const session = WsSession.of(this);
  const { sessions } = session.server.context;
  if (session.isLive) reportClosedByPeer(session, closeCode);
  session.closed();
  sessions.delete(session);
  if (session.opening === undefined) disconnect(session, closeCode);
  else void session.opening.then(() => disconnect(session, closeCode));
}

function disconnect(session: WsSession, closeCode: number): void {
  for (const gateway of session.server.router.hooks.slice(0, session.hooksCalled)) {
    try {
      const result = gateway.disconnected(session, closeCode);
      if (isThenable(result)) result.then(undefined, (error: unknown) => reportHook(session, error));
    } catch (error) {
      reportHook(session, error);
    }
  }
}
