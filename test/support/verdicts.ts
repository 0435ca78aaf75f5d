import type { KeyObject } from 'node:crypto';
import type { TestApp } from './app.js';
import { Client } from './client.js';
import { signed } from './tokens.js';

/** Accepts published keys for tokens of every issuer and audience. */
export const ANY = { issuer: false, audience: false } as const;

/** The subject that a token signs its client in as, or the code that it is refused with. */
export async function verdictOn({ url }: Pick<TestApp, 'url'>, bearer: string): Promise<string> {
  const client = await Client.connect(`${url}/ws`, { token: bearer });
  client.send({ event: 'session', id: 1 });
  const { event, data } = await client.next();
  client.socket.terminate();
  return event === 'session' ? (data as { subject: string }).subject : (data as { code: string }).code;
}

/** A token of RS256. */
export function byRsa(
  { privateKey }: { readonly privateKey: KeyObject },
  kid?: string,
  claims: Record<string, unknown> = {},
): string {
  return signed(claims, { key: privateKey, algorithm: 'RS256', ...(kid !== undefined && { kid }) });
}
