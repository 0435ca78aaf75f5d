import type { Body } from '../engine/engine.js';

/** The version that is written, also by the script PUBLISH; a node reads no other. */
export const VERSION = '1';

/** A message as it crosses Redis. */
export interface Carried {
  readonly body: Body;
  /** Undefined without history. */
  readonly offset: number | undefined;
  readonly except: readonly string[] | undefined;
  readonly volatile: boolean;
}

/** What one publish to Redis carries: the messages of one channel of one turn of the event loop. */
export interface Carrier {
  /** The node that has published it. */
  readonly origin: string;
  /** Undefined without history. */
  readonly epoch: string | undefined;
  readonly messages: readonly Carried[];
}

/** How a message is to be delivered. */
export type How = Pick<Carried, 'except' | 'volatile'>;

/** As a line: JSON has no line breaks of its own, so lines need no lengths. */
export function writeHow({ except, volatile }: How): string {
  return `${volatile ? 'v' : '-'}${except === undefined ? '' : JSON.stringify(except)}`;
}

/** @returns undefined for what no node of this version has written */
export function readHow(line: string): How | undefined {
  const except = exceptOf(line.slice(1));
  return except === null ? undefined : { except, volatile: line.startsWith('v') };
}

/** A frame without history; the script writes those with. */
export function writeFrame(
  origin: string,
  messages: readonly { readonly how: string; readonly text: string }[],
): string {
  let frame = `${VERSION}\n${origin}\n`;
  for (const { how, text } of messages) frame += `\n\n${how}\n${text}`; // no epoch, and no offset
  return frame;
}

/** @returns undefined for what no node of this version has written */
export function readFrame(frame: string): Carrier | undefined {
  const lines = frame.split('\n');
  const [version, origin = '', epoch = ''] = lines;
  if (version !== VERSION || origin === '' || lines.length % 3 !== 0) return undefined;
  const messages: Carried[] = [];
  for (let i = 3; i < lines.length; i += 3) {
    const [offset = '', line = '', text = ''] = lines.slice(i, i + 3);
    const how = readHow(line);
    if (how === undefined) return undefined;
    const body = { text, bytes: Buffer.byteLength(text) };
    messages.push({ body, offset: offset === '' ? undefined : Number(offset), ...how });
  }
  return { origin, epoch: epoch === '' ? undefined : epoch, messages };
}

function exceptOf(json: string): readonly string[] | undefined | null {
  if (json === '') return undefined;
  try {
    const ids: unknown = JSON.parse(json);
    return Array.isArray(ids) ? ids.map(String) : null;
  } catch {
    return null;
  }
}
