/** One frame of a client (RFC 6455 §5.2); what is left out is as the RFC wants it. */
export interface FrameSpec {
  readonly opcode: number;
  readonly payload?: Buffer | string;
  readonly fin?: boolean;
  /** The three reserved bits, RSV1 the highest. */
  readonly reserved?: number;
  readonly mask?: Buffer | false;
  /** The form of the length: 7, 16 or 64 bits; the shortest that fits when unset. */
  readonly lengthBits?: 7 | 16 | 64;
  /** The length that is declared, when it is not the payload's. */
  readonly declared?: bigint;
}

const MASK = Buffer.from([0x12, 0x34, 0x56, 0x78]);

export function encodeFrame(spec: FrameSpec): Buffer {
  const { opcode, fin = true, reserved = 0, mask = MASK } = spec;
  const payload = Buffer.from(spec.payload ?? ''); // a copy: it is masked in place
  const declared = spec.declared ?? BigInt(payload.length);
  const bits = spec.lengthBits ?? (declared < 126n ? 7 : declared < 65_536n ? 16 : 64);
  const head = Buffer.alloc(bits === 7 ? 2 : bits === 16 ? 4 : 10);
  head[0] = (fin ? 0x80 : 0) | (reserved << 4) | opcode;
  head[1] = (mask === false ? 0 : 0x80) | (bits === 7 ? Number(declared & 0x7fn) : bits === 16 ? 126 : 127);
  if (bits === 16) head.writeUInt16BE(Number(declared & 0xffffn), 2);
  if (bits === 64) head.writeBigUInt64BE(BigInt.asUintN(64, declared), 2);
  if (mask === false) return Buffer.concat([head, payload]);
  for (let i = 0; i < payload.length; i++) payload[i] = (payload[i] as number) ^ (mask[i % 4] as number);
  return Buffer.concat([head, mask, payload]);
}

/** A whole text message in one frame. */
export const textFrame = (text: string | Buffer): Buffer => encodeFrame({ opcode: 1, payload: text });

export function closeFrame(code?: number, reason: string | Buffer = ''): Buffer {
  if (code === undefined) return encodeFrame({ opcode: 8 });
  const head = Buffer.alloc(2);
  head.writeUInt16BE(code);
  return encodeFrame({ opcode: 8, payload: Buffer.concat([head, Buffer.from(reason as string)]) });
}
