import type { IncomingMessage } from 'node:http';
import { parseArgs } from 'node:util';
import { WebSocket } from 'ws';
import { visible, visibleJson } from '../../base/visible.js';
import { isEventName, isJsonObject, SUBPROTOCOL } from '../../protocol/message.js';
import { adviseOnEnd, adviseOnException, asFailure } from './advice.js';
import type { FailureData } from './advice.js';
import { CommandError } from './errors.js';

/** How long an answer may take, in milliseconds: longer than a gateway lets a handler take by default. */
const PATIENCE_MS = 60_000;

/** How much of the answer to a refused handshake is read, in bytes. */
const MAX_BODY_BYTES = 16_384;

/** Exit codes of `ws-gateway try`. */
const EXIT = { answered: 0, refused: 1, unanswered: 2 } as const;
type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** One request to a gateway. */
export interface TryOptions {
  readonly url: string;
  readonly token: string | undefined;
  readonly event: string;
  readonly data: unknown;
  /** A text that is sent as it is, in place of the request; the first message is its answer then. */
  readonly raw?: string | undefined;
  /** Accepts a certificate that no authority has signed, as one made for a test. */
  readonly insecure: boolean;
  /** How long an answer may take, in milliseconds. */
  readonly patienceMs: number;
}

const NEEDS_TOKEN = 'An application behind the gateway gets no message before a token has come: --token TOKEN';

/**
 * `ws-gateway try`: sends one request, prints every frame and explains a failure.
 *
 * @returns the exit code: 0 when the request was answered, 1 when the gateway refused it, 2 when there was no connection or no answer
 * @throws CommandError in one sentence; an error of parseArgs for an option it does not know
 */
export async function tryCommand(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      url: { type: 'string', default: 'ws://127.0.0.1:8765/ws' },
      token: { type: 'string' },
      event: { type: 'string' },
      data: { type: 'string' },
      text: { type: 'string' },
      raw: { type: 'string' },
      insecure: { type: 'boolean', default: false },
    },
  });
  const { url, token, insecure, raw } = values;
  if (raw !== undefined && [values.event, values.data, values.text].some((other) => other !== undefined)) {
    throw new CommandError('--raw is all that is sent: give no --event, --data and --text');
  }
  return tryOut({ url, token: token?.trim(), insecure, raw, patienceMs: PATIENCE_MS, ...requestOf(values) });
}

function requestOf({ event, data, text }: { event?: string; data?: string; text?: string }): {
  event: string;
  data: unknown;
} {
  if (event === undefined) {
    if (data !== undefined) throw new CommandError('--data needs the event it belongs to: --event order.place');
    return { event: 'message', data: { text: text ?? 'hello' } };
  }
  if (text !== undefined) throw new CommandError('--text is the data of the event message: give --event and --data');
  if (!isEventName(event)) throw new CommandError('--event must have 1 to 128 characters');
  if (data === undefined) return { event, data: undefined };
  try {
    return { event, data: JSON.parse(data) as unknown };
  } catch {
    throw new CommandError(`--data must be JSON in quotes of the shell: --data '{"article":"tea","amount":1}'`);
  }
}

/**
 * Sends the request and prints each frame, so that no other tool is needed to see an answer.
 *
 * @returns the exit code
 * @throws CommandError when the URL or the token cannot be sent
 */
export function tryOut({ url, token, event, data, raw, insecure, patienceMs }: TryOptions): Promise<ExitCode> {
  const socket = connect(url, token, insecure, raw !== undefined);
  return new Promise((resolve) => {
    let exitCode: ExitCode | undefined;
    let goodbye: FailureData | undefined;
    const patience = setTimeout(() => {
      print(`no answer within ${patienceMs / 1_000} s`);
      exitCode = EXIT.unanswered;
      socket.terminate();
    }, patienceMs);
    const end = (code: ExitCode): void => {
      clearTimeout(patience);
      socket.removeAllListeners().on('error', () => undefined); // all is said: what is still open only ends
      socket.terminate();
      resolve(code);
    };
    socket.on('open', () => {
      const request = raw ?? JSON.stringify({ event, data, id: 1 });
      print(`connected to ${url}\n→ ${visibleJson(request)}`);
      socket.send(request);
    });
    socket.on('message', (bytes: Buffer) => {
      const frame = bytes.toString();
      print(`← ${visibleJson(frame)}`);
      const message = parse(frame);
      if (message?.event === 'disconnect') goodbye = asFailure(message.data);
      if (raw === undefined && message?.id !== 1) return; // a push
      const failure = message !== undefined && isException(message) ? asFailure(message.data) : undefined;
      if (failure !== undefined) print(adviseOnException(failure));
      if (failure !== undefined && raw !== undefined && token === undefined) print(NEEDS_TOKEN);
      exitCode ??= failure === undefined ? EXIT.answered : EXIT.refused;
      socket.close(1000);
    });
    socket.on('unexpected-response', (_, response) => {
      void printRefusal(response).then(() => end(EXIT.refused));
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      print(reasonOf(error, url));
      exitCode ??= EXIT.unanswered;
    });
    socket.on('close', (code, reason) => {
      if (code !== 1006) print(`closed ${code}${reason.length > 0 ? ` ${visible(reason.toString())}` : ''}`);
      else if (exitCode === undefined) print('the connection broke before an answer');
      const failure = goodbye ?? asFailure({ code: reason.toString() });
      if (exitCode === undefined && code !== 1006 && failure !== undefined) print(adviseOnEnd(failure));
      end(exitCode ?? (code === 1006 ? EXIT.unanswered : EXIT.refused));
    });
  });
}

function connect(url: string, token: string | undefined, insecure: boolean, isRaw: boolean): WebSocket {
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw new CommandError('--token is not a token: it is empty, or has characters that no header holds');
  }
  try {
    return new WebSocket(url, isRaw ? [] : [SUBPROTOCOL], {
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      handshakeTimeout: 10_000,
      rejectUnauthorized: !insecure,
    });
  } catch (error) {
    throw new CommandError(`--url: ${(error as Error).message}`, { cause: error });
  }
}

function parse(frame: string): Record<string, unknown> | undefined {
  try {
    const message: unknown = JSON.parse(frame);
    return isJsonObject(message) ? message : undefined;
  } catch {
    return undefined; // a gateway with a language of its own: its frames are printed, and none is the answer
  }
}

/** An application may have another name for the event, so the data decides as well. */
function isException({ event, data }: Record<string, unknown>): boolean {
  return event === 'exception' || (isJsonObject(data) && data.status === 'error' && 'retryable' in data);
}

async function printRefusal(response: IncomingMessage): Promise<void> {
  const { statusCode, headers } = response;
  print(`refused with ${statusCode}`);
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_BODY_BYTES) break;
    }
  } catch (error) {
    print(`its answer broke off: ${(error as Error).message}`);
  }
  const body = Buffer.concat(chunks).toString();
  if (body !== '') print(visible(body.trim()));
  const failure = asFailure(parse(body));
  if (failure === undefined) return;
  const seconds = Number(headers['retry-after'] ?? NaN);
  print(adviseOnEnd(Number.isFinite(seconds) ? { ...failure, retryAfterMs: seconds * 1_000 } : failure));
}

function reasonOf({ code = '', message }: NodeJS.ErrnoException, url: string): string {
  const what = `no connection to ${url}: ${message || code}`;
  if (code === 'ECONNREFUSED') return `${what}; no program listens there`;
  return /CERT|VERIFY/.test(code) ? `${what}; --insecure accepts a certificate made for a test` : what;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
