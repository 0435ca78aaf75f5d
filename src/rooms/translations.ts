import { contain } from '../base/contain.js';
import { ENVELOPE } from '../protocol/envelope.js';
import type { Encoded } from '../protocol/wire-protocol.js';
import type { Session } from '../session/session.js';
import { SharedFrame } from '../socket/shared-frame.js';
import type { SharedBytes } from '../socket/shared-frame.js';
import { frame } from '../socket/text-frames.js';

/** True where the session's path speaks as frames of rooms are written. */
export function speaksEnvelope(session: Session): boolean {
  return session.server.protocol === ENVELOPE;
}

/** Frames of rooms in the languages of other paths: each is written once for all who speak one. */
export class Translations {
  readonly #written = new Map<object, readonly (SharedFrame | Uint8Array | undefined)[]>();

  constructor(
    /** Whole frames of the envelope. */
    private readonly texts: readonly string[],
    private readonly counter: SharedBytes,
  ) {}

  /** @param isFor which of the frames are for the session */
  send(session: Session, isFor: (index: number) => boolean): void {
    const { protocol } = session.server;
    let written = this.#written.get(protocol);
    if (written === undefined) {
      written = this.texts.map((text) => this.#write(session, text));
      this.#written.set(protocol, written);
    }
    for (const [index, push] of written.entries()) {
      if (push === undefined || !isFor(index)) continue;
      if (push instanceof SharedFrame) session.socket.sendFrame(push);
      else session.sendBinary(push);
    }
  }

  #write(session: Session, text: string): SharedFrame | Uint8Array | undefined {
    const push = pushOf(session, text);
    return typeof push === 'string' ? new SharedFrame(frame(push, true), [push], this.counter) : push;
  }
}

/** One frame of the envelope in the language of the session's path; undefined where it has no word for it. */
export function pushOf(session: Session, text: string): Encoded | undefined {
  const { event, data } = JSON.parse(text) as { event: string; data: unknown }; // because encode() has written it
  let push: Encoded | undefined;
  contain(
    () => void (push = session.server.protocol.push(event, data)),
    (error) => session.onFault(error, 'protocol.push'),
  );
  return push;
}
