import { BadFrame, isDeeperThan, parseJson } from './codec.js';
import type { ProtocolOptions } from './wire-protocol.js';

const UTF_8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Reads a message that is JSON as the envelope is read: no deeper than `limits.maxJsonDepth`, and with no key that could reach a
 * prototype. For the `decode()` of a protocol; `JSON.parse()` checks neither.
 *
 * @param options what `decode()` is given
 * @throws GatewayError BAD_FRAME, which `decode()` lets through
 */
export function readJson(message: string | Uint8Array, { limits }: Pick<ProtocolOptions, 'limits'>): unknown {
  const text = typeof message === 'string' ? message : textOf(message);
  if (isDeeperThan(text, limits.maxJsonDepth)) throw new BadFrame('Nested too deep');
  return parseJson(text);
}

function textOf(bytes: Uint8Array): string {
  try {
    return UTF_8.decode(bytes);
  } catch {
    throw new BadFrame('Not UTF-8');
  }
}
