import type { ServerResponse } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { Faults } from '../base/contain.js';
import type { Emitter } from '../base/emitter.js';
import { specOf } from '../protocol/errors.js';
import type { WireProtocol } from '../protocol/wire-protocol.js';
import { disconnectOf, levelOf, logged, refusalBody, refusalHeaders } from '../session/answers.js';
import type { SessionEvent } from '../session/events.js';
import { toFailure } from '../session/failure.js';
import type { WsSession } from '../session/ws-session.js';
import type { Failure } from '../session/failure.js';
import type { SocketDeadlines } from '../socket/socket-deadlines.js';

/** How a peer is refused before it has a session: one answer, in the form that it can read, and one event. Nothing here throws. */

const faults = new Faults('disconnect() of a protocol threw');

/** Ends a peer that never became a session: its token was bad and `auth.reject` is `close`. */
export function refuseAfterUpgrade(
  socket: WebSocket,
  protocol: WireProtocol<WsSession>,
  thrown: unknown,
  monitor: Emitter<SessionEvent>,
  clientAddress: string,
): Failure {
  const failure = toFailure(thrown);
  const disconnect = disconnectOf(failure);
  const { closeCode } = disconnect;
  try {
    const encoded = protocol.disconnect(disconnect, undefined);
    if (encoded !== undefined) socket.send(encoded);
  } catch (error) {
    faults.tell(error);
  }
  socket.close(closeCode, failure.code);
  monitor.emit({ kind: 'connection', ...logged(failure), level: levelOf(failure.code), clientAddress, closeCode });
  return failure;
}

/** Reports a bad credential that counts as absent: the peer gets no answer about it and stays anonymous. */
export function reportSetAside(
  thrown: unknown,
  source: string,
  monitor: Emitter<SessionEvent>,
  clientAddress: string,
): void {
  const failure = toFailure(thrown);
  const because = failure.reason === undefined ? '' : `: ${failure.reason}`;
  const reason = `the ${source} counts as absent${because}`;
  monitor.emit({ kind: 'request', ...logged(failure), reason, level: 'info', clientAddress });
}

/** Refuses an upgrade: an HTTP answer with a JSON body, and one event. */
export function refuse(
  socket: Duplex,
  thrown: unknown,
  monitor: Emitter<SessionEvent>,
  sockets: SocketDeadlines,
  clientAddress: string,
): Failure {
  const failure = toFailure(thrown);
  const status = specOf(failure.code).status ?? 500;
  const body = refusalBody(failure);
  const isHeard = socket.writable;
  if (isHeard) {
    const head = Object.entries(refusalHeaders(failure, body)).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${head.join('')}\r\n${body}`);
    sockets.linger(socket);
  } else socket.destroy();
  reportRefusal(failure, isHeard ? status : undefined, monitor, clientAddress);
  return failure;
}

/** Details of a refused plain HTTP request. */
export interface RefusedHttp {
  /** `upgrade` for a request at a gateway's path, which should have been an upgrade; `http` for any other. @default 'upgrade' */
  readonly kind?: 'upgrade' | 'http';
  /** The HTTP status, where it is not the catalogue's. */
  readonly status?: number;
  readonly route?: string;
  readonly subject?: string;
}

/** Refuses a plain HTTP request: a JSON body as a refused upgrade has it, and one event. */
export function refuseRequest(
  response: ServerResponse,
  thrown: unknown,
  monitor: Emitter<SessionEvent>,
  clientAddress: string,
  { kind = 'upgrade', status: given, ...who }: RefusedHttp = {},
): void {
  const failure = toFailure(thrown);
  const status = given ?? specOf(failure.code).status ?? 500;
  const body = refusalBody(failure);
  if (response.headersSent)
    response.destroy(); // part of the answer has been sent
  else {
    const headers = refusalHeaders(failure, body, status);
    const stays = kind === 'http' && !KEPT_OUT.has(status);
    if (stays || response.req.httpVersionMajor > 1) for (const name of OF_ONE_HOP) delete headers[name];
    response.writeHead(status, headers);
    response.end(response.req.method === 'HEAD' ? undefined : body);
  }
  reportRefusal(failure, status, monitor, clientAddress, { kind, ...who });
}

/** HTTP statuses after which the connection closes: each further request costs the peer a new one. */
const KEPT_OUT: ReadonlySet<number> = new Set([401, 403, 429]);

/** Reports a TCP connection that was cut before its first request, so that there was nothing to answer. */
export function reportCut(thrown: unknown, monitor: Emitter<SessionEvent>, clientAddress: string): void {
  reportRefusal(toFailure(thrown), undefined, monitor, clientAddress);
}

/** HTTP/2 has none of them (RFC 9113 §8.2.2). */
const OF_ONE_HOP = ['Connection', 'Upgrade'] as const;

function reportRefusal(
  failure: Failure,
  status: number | undefined,
  monitor: Emitter<SessionEvent>,
  clientAddress: string,
  who: { readonly kind: 'upgrade' | 'http'; readonly route?: string; readonly subject?: string } = { kind: 'upgrade' },
): void {
  const address = clientAddress !== '' && { clientAddress };
  const answer = status !== undefined && { status };
  monitor.emit({ ...who, ...logged(failure), level: levelOf(failure.code), ...answer, ...address });
}
