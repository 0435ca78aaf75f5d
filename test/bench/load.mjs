// The load: connections on raw TCP that keep a number of requests in flight each, and count the replies by their frames.
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';

/** A frame as a client sends it (RFC 6455 §5.2): text, or binary of a Buffer. */
function maskedFrame(message) {
  const payload = Buffer.from(message);
  const mask = randomBytes(4);
  const opcode = typeof message === 'string' ? 0x81 : 0x82;
  const header =
    payload.length < 126
      ? Buffer.from([opcode, 0x80 | payload.length])
      : Buffer.from([opcode, 0xfe, payload.length >> 8, payload.length & 255]);
  return Buffer.concat([header, mask, payload.map((byte, index) => byte ^ mask[index & 3])]);
}

const FRAMINGS = {
  json: {
    path: '/ws',
    greeting: 0,
    request: (data) => JSON.stringify({ event: 'echo', data, id: 1 }),
    answers: '"id":1',
  },
  jsonrpc: {
    path: '/ws',
    greeting: 0,
    request: (data) => JSON.stringify({ jsonrpc: '2.0', method: 'echo', params: data, id: 1 }),
    answers: '"id":1',
  },
  binary: { path: '/ws', greeting: 0, request: ({ text }) => Buffer.from(text), answers: 'the quick brown fox' },
  // Engine.IO opens, the client joins, Socket.IO confirms: two frames before the first answer.
  socketio: {
    path: '/socket.io/?EIO=4&transport=websocket',
    greeting: 2,
    request: (data) => `421${JSON.stringify(['echo', data])}`,
    answers: '431',
  },
};

/**
 * Runs `connections` clients with `depth` requests in flight each.
 *
 * @returns what to call to begin counting, and to end: the number of answers in between; and to hold all requests back
 */
export async function load({ port, token, connections, depth, data, framing = 'json' }) {
  const { path, greeting, request, answers } = FRAMINGS[framing];
  const frame = maskedFrame(request(data));
  const burst = Buffer.concat(Array.from({ length: depth }, () => frame));
  let answered = 0;
  let isStopped = false;
  let isPaused = false;
  let waiting = [];
  const sockets = [];

  const open = () =>
    new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1');
      sockets.push(socket);
      socket.setNoDelay(true);
      socket.on('error', reject);
      socket.on('connect', () => {
        const lines = [`GET ${path} HTTP/1.1`, 'Host: 127.0.0.1', 'Upgrade: websocket', 'Connection: Upgrade'];
        lines.push('Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`);
        socket.write([...lines, `Authorization: Bearer ${token}`, '\r\n'].join('\r\n'));
      });
      let rest = Buffer.alloc(0);
      let isUpgraded = false;
      let greeted = 0;
      socket.on('data', (chunk) => {
        rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
        if (!isUpgraded) {
          const end = rest.indexOf('\r\n\r\n');
          if (end === -1) return;
          if (!rest.subarray(0, 12).equals(Buffer.from('HTTP/1.1 101'))) return reject(new Error(rest.toString()));
          rest = rest.subarray(end + 4);
          isUpgraded = true;
          if (greeting === 0) resolve(socket);
        }
        let at = 0;
        let complete = 0;
        while (at + 2 <= rest.length) {
          const short = rest[at + 1] & 127;
          const header = short < 126 ? 2 : 4;
          if (at + header > rest.length) break;
          const length = short < 126 ? short : rest.readUInt16BE(at + 2);
          if (at + header + length > rest.length) break;
          if (greeted < greeting) {
            if (++greeted === 1) socket.write(maskedFrame('40'));
            if (greeted === greeting) resolve(socket);
          } else {
            // Every answer is looked at once in a while: a server that answers with errors is not fast.
            if (answered % 997 === 0 && !rest.subarray(at + header, at + header + length).includes(answers)) {
              reject(new Error(`unexpected answer: ${rest.subarray(at, at + header + length)}`));
              process.exitCode = 1;
            }
            answered++;
            complete++;
          }
          at += header + length;
        }
        rest = rest.subarray(at);
        if (complete === 0 || isStopped) return;
        const next = complete === depth ? burst : Buffer.concat(Array.from({ length: complete }, () => frame));
        if (isPaused) waiting.push([socket, next]);
        else socket.write(next);
      });
    });

  for (let opened = 0; opened < connections; opened += 64) {
    await Promise.all(Array.from({ length: Math.min(64, connections - opened) }, open));
  }
  for (const socket of sockets) socket.write(burst);
  return {
    count: () => answered,
    /** What has been answered meanwhile is asked anew with resume(). */
    pause: () => (isPaused = true),
    resume: () => {
      isPaused = false;
      for (const [socket, bytes] of waiting) socket.write(bytes);
      waiting = [];
    },
    stop: () => {
      isStopped = true;
      for (const socket of sockets)
        socket
          .removeAllListeners('error')
          .on('error', () => undefined)
          .destroy();
    },
  };
}
