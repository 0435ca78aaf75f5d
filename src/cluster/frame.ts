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

/** How a message is to be delivered, as a line: JSON has no line breaks of its own, so lines need no lengths. */
export function howOf(except: readonly string[] | undefined, volatile: boolean): string {
  return `${volatile ? 'v' : '-'}${except === undefined ? '' : JSON.stringify(except)}`;
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
    const [offset = '', how = '', text = ''] = lines.slice(i, i + 3);
    const except = exceptOf(how.slice(1));
    if (except === null) return undefined;
    const body = { text, bytes: Buffer.byteLength(text) };
    messages.push({ body, offset: offset === '' ? undefined : Number(offset), except, volatile: how.startsWith('v') });
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
