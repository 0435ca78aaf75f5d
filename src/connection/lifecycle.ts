import type { IncomingMessage } from 'node:http';
import type { Principal } from '../authentication/principal.js';
import { contain } from '../base/contain.js';
import { GatewayError } from '../protocol/errors.js';
import { overBudget, receive } from './receive.js';
import type { Session } from '../session/session.js';
import { adopt } from './sign-in.js';
import { isThenable } from '../base/thenable.js';
import { serverOf } from './context.js';
import type { RawPath } from './context.js';

/** A session begins, with the principal of its handshake. Its frames wait until every `handleConnection` has settled. */
export function open(session: Session, request: IncomingMessage, principal: Principal | undefined): void {
  serverOf(session).context.sessions.add(session);
  if (principal === undefined) return begin(session, request, principal);
  let adopted: void | Promise<void>;
  try {
    adopted = adopt(session, principal);
  } catch (error) {
    return session.end(error);
  }
  if (!isThenable(adopted)) return begin(session, request, principal);
  session.intake.block();
  adopted.then(
    () => {
      begin(session, request, principal);
      session.intake.unblock();
    },
    (error: unknown) => session.end(error),
  );
}

function begin(session: Session, request: IncomingMessage, principal: Principal | undefined): void {
  const { context, pathname } = serverOf(session);
  const { monitor } = context;
  if (monitor.has('admitted')) {
    const { id: sessionId, clientAddress } = session;
    const subject = principal !== undefined && { subject: principal.subject };
    monitor.emit({ kind: 'admitted', sessionId, clientAddress, path: pathname, ...subject });
  }
  session.joinBroadcasts();
  const waiting = connect(session, request);
  if (waiting.length === 0) return session.open();
  session.intake.block();
  // Both outcomes are handled, also those that come after openingTimedOut() has given up the wait.
  const hooks = Promise.all(waiting).then(
    () => session.open(),
    (error: unknown) => {
      if (session.isLive) session.end(error);
      else session.onFault(error, 'handleConnection');
    },
  );
  session.opening = Promise.race([hooks, session.openingTimedOut()]).then(() => {
    session.opening = undefined;
    session.intake.unblock();
  });
}

/** Tells the gateways of the path, in their order, until one of them ends the session. @returns what is not settled yet */
function connect(session: Session, request: IncomingMessage): Promise<unknown>[] {
  const { socket } = session;
  const server = serverOf(session);
  const waiting: Promise<unknown>[] = [];
  try {
    // Not emit(): it ignores the promise of an async listener.
    for (const listener of server.rawListeners('connection')) {
      const result: unknown = listener.call(server, socket, request);
      if (isThenable(result)) waiting.push(Promise.resolve(result));
    }
    for (const gateway of server.router.hooks) {
      if (!session.isLive) break;
      session.hooksCalled++;
      const result = gateway.connected(session, request);
      if (isThenable(result)) waiting.push(Promise.resolve(result));
    }
  } catch (error) {
    // Hooks that have begun are still waited for, so that no rejection of theirs is unhandled.
    waiting.push(Promise.reject(error));
  }
  return waiting;
}

export function onMessage(session: Session, data: Buffer, isBinary: boolean): void {
  // Charged on arrival, before it is parsed: a bad frame is not free.
  const wait = session.server.context.firewall.metering.charge(session, data.length);
  const { raw } = serverOf(session);
  if (wait > 0) refuse(session, raw, data, isBinary, wait);
  else if (isBinary && raw === undefined && !takesBinary(session)) session.end(new GatewayError('UNSUPPORTED_DATA'));
  else receive(session, data, isBinary);
}

function takesBinary(session: Session): boolean {
  const { router, protocol } = serverOf(session);
  return router.binary !== undefined || protocol.takesBinary !== false;
}

/** A ping or a pong counts like a message. */
export function onControl(session: Session, data: Buffer): void {
  const wait = session.server.context.firewall.metering.charge(session, data.length);
  if (wait > 0) refuse(session, serverOf(session).raw, undefined, false, wait);
}

/** Where no frame can say that a message is lost, the session ends by it. */
function refuse(
  session: Session,
  raw: RawPath | undefined,
  data: Buffer | undefined,
  isBinary: boolean,
  retryAfterMs: number,
): void {
  if (raw === undefined || raw.exceptions) overBudget(session, data, isBinary, retryAfterMs);
  else session.end(new GatewayError('RATE_LIMITED', { retryAfterMs }));
}

export function onClosed(session: Session, closeCode: number, reason: string): void {
  session.closed(closeCode, reason);
  const { context } = serverOf(session);
  context.sessions.delete(session);
  if (session.opening === undefined) disconnect(session, closeCode);
  else {
    context.disconnects.add(
      session,
      session.opening.then(() => disconnect(session, closeCode)),
    );
  }
}

function disconnect(session: Session, closeCode: number): void {
  const { router, context } = serverOf(session);
  const failed = (error: unknown): void => session.onFault(error, 'handleDisconnect');
  const waiting = router.hooks
    .slice(0, session.hooksCalled)
    .map((gateway) => contain(() => gateway.disconnected(session, closeCode), failed))
    .filter((settled) => settled !== undefined);
  if (waiting.length > 0) context.disconnects.add(session, Promise.all(waiting));
}
