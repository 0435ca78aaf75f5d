import { parseArgs } from 'node:util';
import { WebSocket } from 'ws';
import { UsageError } from './errors.js';

interface TryOptions {
  readonly url: string;
  readonly token: string | undefined;
  readonly text: string;
  /** Takes a certificate that nobody vouches for, as one made for a test. */
  readonly insecure: boolean;
}

/**
 * `ws-gateway try`.
 *
 * @returns the exit code: 0 when the message was answered, 1 otherwise
 * @throws UsageError when URL or token cannot be sent; an error of parseArgs for an option it does not know
 */
export async function tryCommand(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      url: { type: 'string', default: 'ws://127.0.0.1:8765/ws' },
      token: { type: 'string' },
      text: { type: 'string', default: 'hello' },
      insecure: { type: 'boolean', default: false },
    },
  });
  const { url, token, text, insecure } = values;
  try {
    return await tryOut({ url, token, text, insecure });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/**
 * Sends one `message` to a gateway and prints each frame, so that nobody needs another tool to see an answer.
 *
 * @returns the exit code: 0 when the message was answered, 1 otherwise
 * @throws SyntaxError, TypeError when URL or token cannot be sent
 */
function tryOut({ url, token, text, insecure }: TryOptions): Promise<number> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const socket = new WebSocket(url, ['ws-gateway.v1'], {
    headers,
    handshakeTimeout: 10_000,
    rejectUnauthorized: !insecure,
  });
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  return new Promise((resolve) => {
    let exitCode = 1;
    socket.on('open', () => {
      const request = JSON.stringify({ event: 'message', data: { text }, id: 1 });
      print(`connected to ${url}\n→ ${request}`);
      socket.send(request);
    });
    socket.on('message', (data: Buffer) => {
      const frame = data.toString();
      print(`← ${frame}`);
      const { event, id } = JSON.parse(frame) as { event?: string; id?: unknown };
      if (id !== 1) return; // a push
      exitCode = event === 'message' ? 0 : 1;
      socket.close(1000);
    });
    socket.on('unexpected-response', (_, response) => {
      print(`refused with ${response.statusCode}`);
      response
        .setEncoding('utf8')
        .on('data', print)
        .on('end', () => resolve(1));
    });
    socket.on('error', (error) => {
      print(`no connection to ${url}: ${error.message}`);
      resolve(1);
    });
    socket.on('close', (code, reason) => {
      print(`closed ${code}${reason.length > 0 ? ` ${reason.toString()}` : ''}`);
      resolve(exitCode);
    });
  });
}
