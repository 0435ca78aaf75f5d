import { ConnectionError } from './errors.js';
import type { ClientOptions, TokenReason, TokenSource } from './types.js';

/** The parts of `auth`, of which one way has some and none has all. */
interface Credentials {
  readonly token?: TokenSource;
  readonly via?: 'message' | 'subprotocol';
  readonly ticket?: () => string | Promise<string>;
}

/** `'cookie'` has no parts. */
export function credentialsOf({ auth = {} as never }: Pick<ClientOptions, 'auth'>): Credentials {
  return auth as Credentials; // because each of its forms has some of these members
}

/** The application's tokens: one fetch at a time, and none that has expired is shown again. */
export interface Tokens {
  /** @throws what the application throws, ConnectionError SAME_TOKEN for the one that has just expired */
  fetch(reason: TokenReason): Promise<string>;
  /** This one is the session's now. */
  shown(token: string | undefined): void;
  /** The session's has expired. */
  expired(): void;
}

/** @param source undefined where the client shows no token */
export function tokensOf(source: TokenSource | undefined): Tokens {
  let fetching: Promise<string> | undefined;
  let current: string | undefined;
  let spent: string | undefined;
  const fetch = async (reason: TokenReason): Promise<string> => {
    if (!source) throw new TypeError('No token');
    const token = await source({ reason });
    if (token === spent) throw new ConnectionError('SAME_TOKEN', false);
    return token;
  };
  return {
    fetch: (reason) => (fetching ??= fetch(reason).finally(() => (fetching = undefined))),
    shown: (token) => void (current = token),
    expired: () => void (spent = current),
  };
}
