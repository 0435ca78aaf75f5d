import { createSocket } from 'node:dgram';
import type { Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

/** What the server knows of a name and type; without an entry for either it answers NXDOMAIN. */
export type DnsAnswer =
  | { readonly records: readonly DnsRecord[]; readonly ttlSec?: number }
  | { readonly rcode: keyof typeof RCODES }
  /** Takes the question and never answers. */
  | 'silence'
  /** Answers with bytes that are no DNS message beyond their first 12. */
  | 'garbage';

export type DnsType = keyof typeof TYPES;
export type DnsRecord = { mx: string; priority?: number } | { a: string } | { aaaa: string };

/** RFC 1035 §4.1.1. */
const RCODES = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const;
const TYPES = { A: 1, MX: 15, AAAA: 28 } as const;
/** Longest answer by UDP (RFC 1035 §4.2.1); a longer one is truncated, and the resolver comes again by TCP. */
const MAX_UDP_BYTES = 512;

/** A question as it was asked. */
export interface DnsQuestion {
  readonly name: string;
  readonly type: string;
  readonly over: 'udp' | 'tcp';
}

const running = new Set<DnsServer>();

/** A DNS server on a port of loopback, UDP and TCP, that answers what a test tells it to. */
export class DnsServer {
  /** Every question it was asked, in order. */
  readonly questions: DnsQuestion[] = [];
  readonly #zone = new Map<string, DnsAnswer>();
  readonly #held = new Map<string, Promise<void>>();
  readonly #waiting: (() => void)[] = [];
  readonly #sockets = new Set<Socket>();

  private constructor(
    readonly port: number,
    private readonly udp: UdpSocket,
    private readonly tcp: Server,
  ) {
    udp.on('message', (question, { port: to, address }) => {
      void this.#answer(question, 'udp').then((answer) => {
        if (answer !== undefined && running.has(this)) udp.send(answer, to, address);
      });
    });
    tcp.on('connection', (socket) => this.#serve(socket));
    running.add(this);
  }

  static async start(): Promise<DnsServer> {
    const tcp = createServer().listen(0, '127.0.0.1');
    await once(tcp, 'listening');
    const { port } = tcp.address() as AddressInfo;
    const udp = createSocket('udp4').bind(port, '127.0.0.1');
    await once(udp, 'listening');
    return new DnsServer(port, udp, tcp);
  }

  /** `127.0.0.1:port`. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** What it says from now on of a name; what is not given is an empty answer. */
  set(name: string, answers: DnsAnswer | Partial<Record<DnsType, DnsAnswer>>): void {
    const isOne = typeof answers === 'string' || 'records' in answers || 'rcode' in answers;
    for (const type of Object.keys(TYPES) as DnsType[]) {
      const answer = isOne ? answers : (answers[type] ?? { records: [] });
      this.#zone.set(`${name} ${type}`, answer);
    }
  }

  /** Questions for a name are answered when the returned function is called. */
  hold(name: string): () => void {
    let release = (): void => undefined;
    this.#held.set(name, new Promise((resolve) => (release = resolve)));
    return release;
  }

  /** Resolves when it has been asked so many questions. */
  async asked(count: number): Promise<void> {
    while (this.questions.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  async stop(): Promise<void> {
    running.delete(this);
    for (const socket of this.#sockets) socket.destroy();
    this.udp.close();
    this.tcp.close();
    await once(this.tcp, 'close');
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined); // a resolver that gives up resets
    socket.on('close', () => this.#sockets.delete(socket));
    let received = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE()) {
        const end = 2 + received.readUInt16BE();
        const question = received.subarray(2, end);
        received = received.subarray(end);
        void this.#answer(question, 'tcp').then((answer) => {
          if (answer !== undefined) socket.write(Buffer.concat([uint16(answer.length), answer]));
        });
      }
    });
  }

  async #answer(question: Buffer, over: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    const { name, type, end } = readQuestion(question);
    this.questions.push({ name, type, over });
    for (const wake of this.#waiting.splice(0)) wake();
    await this.#held.get(name);
    const answer = this.#zone.get(`${name} ${type}`) ?? { rcode: 'NXDOMAIN' };
    if (answer === 'silence') return undefined;
    if (answer === 'garbage') return Buffer.concat([header(question, 'NOERROR', 7), Buffer.from([0xff, 0xc0, 0xff])]);
    const asked = question.subarray(12, end);
    if ('rcode' in answer) return Buffer.concat([header(question, answer.rcode, 0), asked]);
    const records = answer.records
      .filter((record) => typeOf(record) === type)
      .map((record) => encodeRecord(record, answer.ttlSec ?? 300));
    const whole = Buffer.concat([header(question, 'NOERROR', records.length), asked, ...records]);
    if (over === 'tcp' || whole.length <= MAX_UDP_BYTES) return whole;
    return Buffer.concat([header(question, 'NOERROR', 0, true), asked]);
  }
}

/** For `afterEach`. */
export async function stopDnsServers(): Promise<void> {
  await Promise.all([...running].map((server) => server.stop()));
}

function readQuestion(message: Buffer): { name: string; type: string; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = message.readUInt8(at++); length > 0; length = message.readUInt8(at++)) {
    labels.push(message.toString('latin1', at, at + length));
    at += length;
  }
  const code = message.readUInt16BE(at);
  const type = Object.entries(TYPES).find(([, known]) => known === code)?.[0] ?? String(code);
  return { name: labels.join('.').toLowerCase(), type, end: at + 4 };
}

/** The header of an answer: QR, RD and RA set, one question. */
function header(question: Buffer, rcode: keyof typeof RCODES, answers: number, truncated = false): Buffer {
  const flags = 0x8180 | RCODES[rcode] | (truncated ? 0x0200 : 0);
  return Buffer.concat([question.subarray(0, 2), ...[flags, 1, answers, 0, 0].map(uint16)]);
}

function typeOf(record: DnsRecord): DnsType {
  return 'mx' in record ? 'MX' : 'a' in record ? 'A' : 'AAAA';
}

function encodeRecord(record: DnsRecord, ttlSec: number): Buffer {
  const data = dataOf(record);
  const ttl = Buffer.alloc(4);
  ttl.writeUInt32BE(ttlSec);
  // 0xc00c: the name of the question (RFC 1035 §4.1.4).
  return Buffer.concat([uint16(0xc00c), uint16(TYPES[typeOf(record)]), uint16(1), ttl, uint16(data.length), data]);
}

function dataOf(record: DnsRecord): Buffer {
  if ('mx' in record) return Buffer.concat([uint16(record.priority ?? 10), encodeName(record.mx)]);
  if ('a' in record) return Buffer.from(record.a.split('.').map(Number));
  const [head = '', tail = ''] = record.aaaa.split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => parseInt(group, 16)));
  const zeros = Array.from({ length: 8 - groups(head).length - groups(tail).length }, () => 0);
  return Buffer.concat([...groups(head), ...zeros, ...groups(tail)].map(uint16));
}

/** `''` and `'.'` are the root. */
function encodeName(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '');
  return Buffer.concat([
    ...labels.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]),
    Buffer.from([0]),
  ]);
}

function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}
