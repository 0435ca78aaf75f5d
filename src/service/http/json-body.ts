import type { IncomingMessage } from 'node:http';
import { parseJson } from '../../protocol/codec.js';
import { GatewayError } from '../../protocol/errors.js';

/**
 * Paths whose bodies are read where they are handled: behind the guard, so that no body is read for a stranger, and each with a
 * limit of its own.
 */
export function readsItsOwnBody(url = ''): boolean {
  return /^\/(publish|disconnect|channels)(\/|\?|$)/.test(url);
}

/**
 * Reads a body of JSON.
 *
 * @throws GatewayError, as a rejection: MESSAGE_TOO_BIG above `maxBytes`; VALIDATION_FAILED for what is no JSON, or has a key that
 * could reach a prototype
 */
export async function readJson(request: IncomingMessage, maxBytes: number): Promise<unknown> {
  if (!/^application\/json\b/i.test(request.headers['content-type'] ?? '')) throw new GatewayError('VALIDATION_FAILED');
  if (Number(request.headers['content-length']) > maxBytes) throw new GatewayError('MESSAGE_TOO_BIG');
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new GatewayError('MESSAGE_TOO_BIG');
    chunks.push(chunk);
  }
  try {
    return parseJson(Buffer.concat(chunks).toString());
  } catch (error) {
    throw new GatewayError('VALIDATION_FAILED', { cause: error });
  }
}
