import { createClient } from '../../client/index.js';
import type { ClientAuth, ClientState, Frame, GatewayClient } from '../../client/index.js';
import { nextStep } from './explain.js';
import { ms } from './format.js';
import type { Store } from './store.js';

/** How long a minted token is good. */
const MINT_SECONDS = 600;

/** Who a connection speaks for. */
export interface Who {
  readonly kind: 'minted' | 'pasted' | 'nobody';
  readonly sub: string;
  readonly roles: string;
  readonly scope: string;
  readonly token: string;
}

export interface Seen {
  readonly at: number;
  readonly direction: 'in' | 'out' | 'note';
  readonly text: string;
  /** Of an exception, a disconnect, or a close. */
  readonly code?: string;
  /** What happens next, of the end of a connection. */
  readonly next?: string;
  /** Milliseconds since the frame with the same id went out. */
  readonly tookMs?: number;
}

export interface Session {
  readonly client: GatewayClient;
  /** What frames that are none go through. */
  raw(): WebSocket | undefined;
}

/** What a connection shows of who it is; undefined for one that says nothing. A token is minted for it where it may be. */
export async function authOf(
  store: Store,
  { kind, sub, roles, scope, token }: Who,
  seconds = MINT_SECONDS,
): Promise<ClientAuth | undefined> {
  if (kind === 'nobody') return undefined;
  const via = store.config.via === 'subprotocol' ? 'subprotocol' : 'message';
  if (kind === 'pasted') return { token: () => token.trim(), via };
  const claims = { sub, roles: roles.split(/[\s,]+/).filter((role) => role !== ''), scope, seconds };
  const minted = await store.client.request('ws-gateway.mint', claims);
  return { token: () => minted.token, via };
}

/** A connection whose frames are noted, both ways. */
export function open(
  url: string,
  auth: ClientAuth | undefined,
  note: (seen: Omit<Seen, 'at'>) => void,
  setState: (state: ClientState) => void,
): Session {
  let raw: WebSocket | undefined;
  const sent = new Map<string | number, number>();
  const onFrame = (direction: 'in' | 'out', frame: Frame): void => {
    const { id } = frame;
    if (direction === 'out' && id !== undefined) sent.set(id, performance.now());
    const began = direction === 'in' && id !== undefined ? sent.get(id) : undefined;
    note({
      direction,
      text: JSON.stringify(frame),
      ...(began !== undefined && { tookMs: performance.now() - began }),
      ...explained(frame),
    });
  };
  const client = createClient({
    url,
    ...(auth !== undefined && { auth }),
    onFrame,
    createSocket: (to, protocols) => {
      const socket = (raw = new WebSocket(to, protocols));
      socket.addEventListener('close', ({ code, reason }) =>
        note({ direction: 'note', text: `closed with ${code}${reason === '' ? '' : ` ${reason}`}` }),
      );
      return socket;
    },
  });
  client.subscribe(setState);
  return { client, raw: () => raw };
}

/** The code of a frame that says no, and what a client does then. */
function explained({ event, data }: Frame): Pick<Seen, 'code' | 'next'> {
  if (event !== 'exception' && event !== 'disconnect') return {};
  const { code, reconnect, retryable, retryAfterMs } = (data ?? {}) as {
    code?: string;
    reconnect?: boolean;
    retryable?: boolean;
    retryAfterMs?: number;
  };
  if (code === undefined) return {};
  if (event === 'disconnect') return { code, next: nextStep(reconnect === true, retryAfterMs) };
  return {
    code,
    ...(retryable === true && {
      next:
        retryAfterMs === undefined
          ? 'The same request may succeed later.'
          : `The same request may succeed in ${ms(retryAfterMs)}.`,
    }),
  };
}
