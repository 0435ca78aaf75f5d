import { closeFrame, textFrame } from '../support/frames.js';
import { MARKER } from './input.js';
import { damaged } from './random.js';
import type { Random } from './random.js';
import { GOOD_TOKEN, ODD_TOKENS } from './tokens.js';

export const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

/** A ping of the protocol, behind the handshake in the same write. */
export const PIPELINED = textFrame('{"event":"ping","id":"pipelined"}');

interface Draft {
  line: string;
  headers: string[];
  /** What follows the head. */
  rest: Buffer;
  /** Statuses that can come of it, as far as is known; undefined: anything. */
  statuses: number[] | undefined;
}

const TARGETS = ['/', '/page', '/nothing', '/ws/x', '/WS', '//ws', '/ws%2f', '/ws;x', '/%', '*', 'http://[', 'ws://127.0.0.1/ws', 'http://x/ws', '/ws#x', '/../ws', '\\ws', '/ws\t', 'ws', '127.0.0.1:80', `/${MARKER}`, `/ws?${'q'.repeat(5_000)}`, `/ws?access_token=${MARKER}`, '/orders', '/orders/?a=b']; // prettier-ignore
const ODD_HEADERS = [
  'Transfer-Encoding: chunked',
  'Content-Length: 5',
  'Content-Length: 5, 6',
  'Content-Length: -1',
  'Content-Length: 99999999999999999999',
  'Transfer-Encoding: gzip, chunked',
  'Expect: 100-continue',
  'Connection: close',
  'Connection: keep-alive',
  'Connection: ',
  'Upgrade: h2c',
  'Upgrade: WebSocket, h2c',
  'HTTP2-Settings: x',
  `X-Long: ${'h'.repeat(8_000)}`,
  `X-Longer: ${'h'.repeat(17_000)}`,
  'X-Nul: a\0b',
  'X Space: x',
  ': no name',
  'no colon',
  ' folded: x',
  'X-Bytes: \xff\xfe\x80',
  '__proto__: x',
  'constructor: x',
  'Host: a',
  'Host: [::1',
  'Origin: null',
  'Origin: https://evil.example',
  'Origin: http://127.0.0.1',
  'Origin: \x7f',
  `Origin: ${MARKER}`,
  `Cookie: access_token=${MARKER}`,
  `Authorization: Basic ${MARKER}`,
  'Sec-WebSocket-Extensions: permessage-deflate',
  'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8; client_max_window_bits',
  'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99',
  'Sec-WebSocket-Extensions: permessage-deflate; x=1, permessage-deflate',
  'Sec-WebSocket-Extensions: ;;,',
  `Sec-WebSocket-Extensions: ${MARKER}`,
  'Sec-WebSocket-Protocol: ws-gateway.v1',
  'Sec-WebSocket-Protocol: ws-gateway.v1, ws-gateway.v1',
  `Sec-WebSocket-Protocol: ${MARKER}, ws-gateway.v1`,
  'Sec-WebSocket-Protocol: ,',
  'Sec-WebSocket-Protocol: bearer.',
  'Sec-WebSocket-Protocol: a b',
  'Sec-WebSocket-Protocol: ',
];
const KEYS = ['', 'x', `${KEY}x`, KEY.slice(0, -1), '!!!!!!!!!!!!!!!!!!!!!!==', 'AAAAAAAAAAAAAAAAAAAAAA==', `${KEY}, ${KEY}`, ` ${KEY} `, MARKER]; // prettier-ignore
const VERSIONS = ['12', '8', '', '13, 8', '013', 'x', '-1', '13 ', '٣'];

/** A handshake with nothing to three things wrong about it, sometimes with bytes behind it, sometimes cut off. */
export function upgrade(random: Random): { bytes: Buffer; statuses?: number[]; isComplete: boolean } {
  const draft: Draft = {
    line: `GET ${random.chance(0.2) ? '/orders' : '/ws'} HTTP/1.1`,
    headers: [
      'Host: 127.0.0.1',
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Sec-WebSocket-Version: 13',
      `Sec-WebSocket-Key: ${KEY}`,
    ],
    rest: Buffer.alloc(0),
    statuses: [101],
  };
  for (let changes = random.between(0, 3); changes > 0; changes--) change(random, draft);
  if (random.chance(0.15)) draft.headers = random.shuffled(draft.headers);
  const head = Buffer.from(`${draft.line}\r\n${draft.headers.join('\r\n')}\r\n\r\n`, 'latin1');
  const { rest, statuses } = draft;
  if (random.chance(0.08)) return { bytes: damaged(random, Buffer.concat([head, rest])), isComplete: false };
  if (random.chance(0.08)) return { bytes: head.subarray(0, random.below(head.length)), isComplete: false };
  return { bytes: Buffer.concat([head, rest]), isComplete: true, ...(statuses !== undefined && { statuses }) };
}

type Change = (random: Random, draft: Draft) => void;

function change(random: Random, draft: Draft): void {
  random.pick(CHANGES)(random, draft);
}

/** Replaces, doubles or takes out a header. */
function alter(draft: Draft, name: string, ...values: string[]): void {
  draft.headers = draft.headers.filter((header) => !header.toLowerCase().startsWith(`${name.toLowerCase()}:`));
  draft.headers.push(...values.map((value) => `${name}: ${value}`));
  draft.statuses = undefined;
}

const TOKEN_SOURCES: readonly ((token: string) => string)[] = [
  (token) => `Authorization: Bearer ${token}`,
  (token) => `authorization: bearer   ${token}  `,
  (token) => `Authorization: ${token}`,
  (token) => `Sec-WebSocket-Protocol: ws-gateway.v1, bearer.${token}`,
  (token) => `Sec-WebSocket-Protocol: bearer.${token}`,
];

const CHANGES: readonly Change[] = [
  (random, draft) => {
    draft.headers.push(random.pick(TOKEN_SOURCES)(GOOD_TOKEN));
    // A second header of the name is the parser's to refuse or to join.
    if (draft.headers.filter((header) => /^(authorization|sec-websocket-protocol):/i.test(header)).length > 1) {
      draft.statuses = undefined;
    }
  },
  (random, draft) => {
    draft.headers.push(random.pick(TOKEN_SOURCES)(random.pick(ODD_TOKENS)));
    draft.statuses = undefined;
  },
  (random, draft) => {
    draft.line = `${random.pick(['GET', 'POST', 'HEAD', 'OPTIONS', 'CONNECT', 'get', 'PRI', MARKER, ''])} /ws HTTP/1.1`;
    draft.statuses = undefined;
  },
  (random, draft) => {
    draft.line = `GET ${random.pick(TARGETS)} HTTP/1.1`;
    draft.statuses = undefined;
  },
  (random, draft) => {
    draft.line = random.pick(['GET /ws HTTP/1.0', 'GET /ws HTTP/2.0', 'GET /ws HTTP/9.9', 'GET /ws', 'GET  /ws  HTTP/1.1', 'GET /ws HTTP/1.1 x', '']); // prettier-ignore
    draft.statuses = undefined;
  },
  (random, draft) => alter(draft, 'Sec-WebSocket-Key', ...(random.chance(0.2) ? [] : [random.pick(KEYS)])),
  (random, draft) => alter(draft, 'Sec-WebSocket-Version', ...(random.chance(0.2) ? [] : [random.pick(VERSIONS)])),
  (random, draft) => alter(draft, 'Host', ...random.pick([[], ['a', 'b'], [''], [MARKER], ['127.0.0.1:99999']])),
  (random, draft) =>
    alter(draft, 'Upgrade', ...random.pick([[], ['WebSocket'], ['websocket', 'websocket'], ['h2c'], ['websocket/13'], [MARKER]])), // prettier-ignore
  (random, draft) =>
    alter(draft, 'Connection', ...random.pick([[], ['close'], ['keep-alive, Upgrade'], ['Upgrade', 'close'], [MARKER]])), // prettier-ignore
  (random, draft) => {
    draft.headers.push(random.pick(ODD_HEADERS));
    draft.statuses = undefined;
  },
  (random, draft) => {
    const twice = random.pick(draft.headers);
    draft.headers.push(random.chance(0.5) ? twice : twice.toUpperCase());
    draft.statuses = undefined;
  },
  (random, draft) => {
    for (let i = random.pick([10, 100, 1_000]); i > 0; i--) draft.headers.push(`X-${i}: ${MARKER}`);
    draft.statuses = undefined;
  },
  (_, draft) => {
    draft.rest = Buffer.concat([draft.rest, PIPELINED]);
  },
  (random, draft) => {
    draft.rest = random.pick([
      random.bytes(random.between(1, 100)),
      closeFrame(1000),
      Buffer.from('GET /page HTTP/1.1\r\nHost: x\r\n\r\n'),
      Buffer.from(`GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n`),
      Buffer.from('hello'),
    ]);
    draft.statuses = undefined;
  },
  (random, draft) => {
    const before = random.pick(['GET /page HTTP/1.1\r\nHost: x\r\n\r\n', '\r\n\r\n', 'POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc', '\0', '\x16\x03\x01\x00\xa5', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n']); // prettier-ignore
    draft.line = before + draft.line;
    draft.statuses = undefined;
  },
];
