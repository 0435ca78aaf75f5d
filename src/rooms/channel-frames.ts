import { randomInt } from 'node:crypto';
import type { GapReason, Position } from '../engine/engine.js';
import { encode } from '../protocol/codec.js';
import type { Session } from '../session/session.js';
import type { Room } from './room.js';
import { pushOf, speaksEnvelope } from './translations.js';

/** After a gap clients reload what they show: over so many milliseconds, not all at once. */
const RELOAD_MS = 5_000;

/** @param head the text of a frame without its last brace, which it has not here either */
export function inChannel(head: string, channel: string): string {
  return `${head},"channel":${JSON.stringify(channel)}`;
}

/** Sends one frame about a channel to one session. */
export function sendIn(session: Session, event: string, data: object, channel: string): void {
  sendText(session, `${inChannel(encode(event, data).slice(0, -1), channel)}}`);
}

/** @param text a whole frame of the envelope */
export function sendText(session: Session, text: string): void {
  if (speaksEnvelope(session)) session.sendText(text);
  else session.sendEncoded(pushOf(session, text));
}

/** Tells the members of a channel that what came before a position cannot be proven whole. */
export function tellGap(room: Room, position: Position, reason: GapReason): void {
  room.flush();
  for (const { session } of room.members.slice()) {
    sendIn(session, 'gap', { ...position, reason, reloadAfterMs: randomInt(RELOAD_MS + 1) }, room.name);
  }
}
