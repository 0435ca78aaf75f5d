import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { OVER_TLS } from './app.js';
import { localTls } from './certificates.js';

/** A handshake as a client would send it; `extra` are further header lines. */
export function handshake(path = '/ws', extra: string[] = []): string {
  return [
    `GET ${path} HTTP/1.1`,
    'Host: 127.0.0.1',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
    ...extra,
    '\r\n',
  ].join('\r\n');
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What a connection over TLS runs on. */
const carrier = new WeakMap<Socket, Socket>();

/** A connection without WebSocket; in the runs over TLS what is inside of it. */
export async function openTcp(port: number): Promise<Socket> {
  const tcp = connect(port, '127.0.0.1');
  const socket = OVER_TLS ? connectTls({ socket: tcp, host: '127.0.0.1', ca: localTls().ca }) : tcp;
  carrier.set(socket, tcp);
  for (const each of [tcp, socket]) each.on('error', () => undefined); // resets are part of what is tested
  await once(socket, OVER_TLS ? 'secureConnect' : 'connect');
  return socket;
}

/** Ends what openTcp() has opened with a reset. */
export function reset(socket: Socket): void {
  (carrier.get(socket) ?? socket).resetAndDestroy();
}

/** The head of the answer to a handshake; the connection is cut after it. */
export async function exchangeUpgrade(port: number, extra: string[] = [], path = '/ws'): Promise<string> {
  const socket = await openTcp(port);
  socket.write(handshake(path, extra));
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return chunk.toString('latin1').split('\r\n\r\n', 1)[0] ?? '';
}

/** Sends bytes and reads until the server closes. */
export async function exchange(port: number, bytes: string | Buffer): Promise<string> {
  const socket = await openTcp(port);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.write(bytes);
  await once(socket, 'close');
  return Buffer.concat(chunks).toString('latin1');
}

/** The status and the JSON body of a raw HTTP answer. */
export function parseAnswer(answer: string): { status: number; head: string; body: { code?: string } } {
  const [head = '', body = '{}'] = answer.split('\r\n\r\n');
  return {
    status: Number(head.split(' ')[1]),
    head: head.toLowerCase(),
    body: JSON.parse(body || '{}') as { code?: string },
  };
}

/** One frame as a client sends it (RFC 6455 §5.2), masked unless told otherwise. */
export function frame(first: number, payload: string | Buffer = '', { masked = true } = {}): Buffer {
  const data = Buffer.from(payload as string);
  const length = data.length < 126 ? [data.length] : [126, data.length >> 8, data.length & 0xff];
  length[0] = (length[0] as number) | (masked ? 0x80 : 0);
  if (!masked) return Buffer.concat([Buffer.from([first, ...length]), data]);
  const mask = Buffer.from([1, 2, 3, 4]);
  const hidden = data.map((byte, index) => byte ^ (mask[index % 4] as number));
  return Buffer.concat([Buffer.from([first, ...length]), mask, hidden]);
}

/** What a server sent after its 101: text frames as text, a close frame as its code and reason. */
export interface RawReply {
  texts: string[];
  close: { code: number; reason: string } | undefined;
}

/** Upgrades, sends raw frames and reads until the server closes. */
export async function sendRaw(port: number, bytes: Buffer, extra: string[] = []): Promise<RawReply> {
  const socket = await openTcp(port);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => {
    chunks.push(chunk);
    if (parseFrames(Buffer.concat(chunks)).close !== undefined) socket.end();
  });
  socket.write(Buffer.concat([Buffer.from(handshake('/ws', extra)), bytes]));
  await once(socket, 'close');
  return parseFrames(Buffer.concat(chunks));
}

function parseFrames(bytes: Buffer): RawReply {
  const reply: RawReply = { texts: [], close: undefined };
  let at = bytes.indexOf('\r\n\r\n') + 4;
  while (at + 2 <= bytes.length) {
    const opcode = (bytes[at] as number) & 0x0f;
    let length = (bytes[at + 1] as number) & 0x7f;
    at += 2;
    if (length === 126) {
      length = bytes.readUInt16BE(at);
      at += 2;
    }
    const payload = bytes.subarray(at, at + length);
    if (payload.length < length) return reply;
    if (opcode === 1) reply.texts.push(payload.toString());
    if (opcode === 8) reply.close = { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() };
    at += length;
  }
  return reply;
}
