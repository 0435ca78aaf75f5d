import { causesOf, stackOf } from '../base/thrown.js';
import { GatewayError } from '../protocol/errors.js';

/** Shorter texts stand in too many words by chance. */
const MIN_LENGTH = 4;

/**
 * What an application's authenticator threw, as it may go to a log or a client: an error that quotes the credential is replaced by one
 * that has its code, or the place where it was made, and no text.
 *
 * @param secrets the credential, and parts of it
 */
export function withheld(error: unknown, secrets: readonly string[]): unknown {
  const stack = stackOf(error) ?? '';
  const details = error instanceof GatewayError ? `${error.message} ${textOf(error.details)}` : '';
  const said = `${stack} ${causesOf(error) ?? ''} ${details}`;
  if (!secrets.some((secret) => secret.length >= MIN_LENGTH && said.includes(secret))) return error;
  if (error instanceof GatewayError) {
    const { code, retryable, retryAfterMs } = error;
    const cause = 'the authenticator gave a reason that quotes the credential';
    return new GatewayError(code, { retryable, cause, ...(retryAfterMs !== undefined && { retryAfterMs }) });
  }
  const replaced = new Error('The authenticator threw an error that quotes the credential');
  const frames = stack
    .split('\n')
    .filter((line) => /^\s+at /.test(line) && !secrets.some((secret) => line.includes(secret)));
  replaced.stack = [`Error: ${replaced.message}`, ...frames].join('\n');
  return replaced;
}

function textOf(details: unknown): string {
  try {
    return JSON.stringify(details) ?? '';
  } catch {
    return ''; // an answer cannot hold it, either
  }
}
