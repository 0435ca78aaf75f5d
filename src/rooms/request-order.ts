import { Injectable } from '@nestjs/common';
import { contain } from '../base/contain.js';
import { isThenable } from '../base/thenable.js';
import type { Session } from '../session/session.js';

/** A request, as far as one that waits has to know: its client may have been answered already. */
export interface Asked {
  /** @throws why the answer is wanted no longer: its time is over, or the client has cancelled it */
  demandWanted(): void;
}

/** The requests of a session for one channel are handled in their order; those for others overtake them. */
@Injectable()
export class RequestOrder {
  /** Requests that wait, by channel: the next one waits for them. */
  readonly #waiting = new WeakMap<Session, Map<string, Promise<unknown>>>();

  /**
   * Acts when the earlier requests of the session for these channels have been handled.
   *
   * @param asked undefined: it is done also where the answer is wanted no longer
   */
  behind<T>(
    session: Session,
    channels: readonly string[],
    asked: Asked | undefined,
    act: () => T | Promise<T>,
  ): T | Promise<T> {
    const waiting = this.#waiting.get(session);
    const earlier = waiting === undefined ? [] : channels.flatMap((channel) => waiting.get(channel) ?? []);
    const done = earlier.length === 0 ? act() : Promise.all(earlier).then(() => (asked?.demandWanted(), act()));
    if (isThenable(done)) this.#remember(session, channels, done);
    return done;
  }

  #remember(session: Session, channels: readonly string[], done: Promise<unknown>): void {
    const settled = contain(
      () => done,
      () => undefined, // the request itself is told
    );
    if (settled === undefined) return;
    let waiting = this.#waiting.get(session);
    if (waiting === undefined) this.#waiting.set(session, (waiting = new Map()));
    const own = waiting;
    for (const channel of channels) own.set(channel, settled);
    void settled.then(() => {
      for (const channel of channels) if (own.get(channel) === settled) own.delete(channel);
    });
  }
}
