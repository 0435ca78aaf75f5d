import { WebSocket } from 'ws';
import type { ClientOptions as SocketOptions } from 'ws';
import type { DisconnectData } from '../protocol/message.js';
import { isJsonObject } from '../protocol/message.js';
import type { SocketLike } from './types.js';

/** What a browser does not let a page choose: headers, certificates, an agent. */
export interface NodeSocketOptions extends Pick<
  SocketOptions,
  'headers' | 'ca' | 'cert' | 'key' | 'agent' | 'localAddress'
> {
  /** Longest message, in bytes. @default 1 MiB */
  readonly maxPayload?: number;
}

/** Longest body of a refused handshake that is read, in bytes. */
const MAX_BODY_BYTES = 4_096;

/**
 * For `createSocket` on Node, by `ws`. It reads the answer to a refused handshake too (its code and `Retry-After`), which no
 * browser shows, and tells the client of it as the gateway would in a `disconnect`.
 */
export function nodeSocket(options: NodeSocketOptions = {}): (url: string, protocols: string[]) => SocketLike {
  return (url, protocols) => {
    const socket = new WebSocket(url, protocols, { maxPayload: 1_048_576, perMessageDeflate: false, ...options });
    socket.on('error', () => undefined); // a close follows
    socket.on('unexpected-response', (_, response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (part: string) => void (body.length < MAX_BODY_BYTES && (body += part)));
      response.on('close', () => {
        const data = refusal(response.statusCode ?? 0, body, response.headers['retry-after']);
        const { onmessage } = socket as unknown as SocketLike; // because ws has events of its own type
        onmessage?.({ data: JSON.stringify({ event: 'disconnect', data }) } as never); // because it is all that the client reads
        socket.terminate();
      });
    });
    return socket as unknown as SocketLike; // because ws has events of its own type
  };
}

/** Statuses of what may go better later (PROTOCOL.md §4). */
const LATER: ReadonlySet<number> = new Set([429, 500, 502, 503, 504]);

function refusal(status: number, body: string, retryAfter: string | undefined): DisconnectData {
  const { code, message } = parsed(body);
  const seconds = Number(retryAfter);
  return {
    code: typeof code === 'string' ? code : `HTTP_${status}`,
    message: typeof message === 'string' ? message : `The handshake was refused with ${status}`,
    closeCode: 1006,
    reconnect: LATER.has(status) || code === 'TOKEN_EXPIRED',
    ...(retryAfter !== undefined && Number.isFinite(seconds) && { retryAfterMs: seconds * 1_000 }),
  };
}

function parsed(body: string): { code?: unknown; message?: unknown } {
  try {
    const value: unknown = JSON.parse(body);
    return isJsonObject(value) ? value : {};
  } catch {
    return {}; // an answer of a proxy's
  }
}
