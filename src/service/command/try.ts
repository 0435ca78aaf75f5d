import { WebSocket } from 'ws';

/** What `ws-gateway try` is told. */
export interface TryOptions {
  readonly url: string;
  readonly token: string | undefined;
  readonly text: string;
  /** Takes a certificate that nobody vouches for, as one made for a test. */
  readonly insecure: boolean;
}

/**
 * Sends one `message` to a gateway and prints each frame, so that nobody needs another tool to see an answer.
 *
 * @returns the exit code: 0 when the message was answered, 1 otherwise
 * @throws SyntaxError, TypeError when URL or token cannot be sent
 */
export function tryOut({ url, token, text, insecure }: TryOptions): Promise<number> {
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
