import type { Session } from '../session/session.js';
import { SharedFrame } from '../socket/shared-frame.js';
import type { SharedBytes } from '../socket/shared-frame.js';
import { fanOutSoon, frame, frames } from '../socket/text-frames.js';
import { speaksEnvelope, Translations } from './translations.js';
import type { ChannelRule } from './channel-rules.js';

const BY_RULE = 'by rule';

/** One session in one room. It knows its place in both lists, so that it leaves both at once and without a search. */
export class Membership {
  indexInRoom = 0;
  indexInSession = 0;
  #how: typeof BY_RULE | Readonly<Record<string, unknown>> | undefined;

  constructor(
    readonly session: Session,
    readonly room: Room,
    /** Since the process has rooms, in milliseconds: so small a number costs no memory of its own. */
    readonly joinedAt: number,
    isByRule: boolean,
  ) {
    this.#how = isByRule ? BY_RULE : undefined;
  }

  /** True where a client has subscribed by a rule, and loses it with its right; an application or a backend joins for good. */
  get isByRule(): boolean {
    return this.#how === BY_RULE;
  }

  /** What the application gave with `as`. */
  get as(): Readonly<Record<string, unknown>> | undefined {
    return this.#how === BY_RULE ? undefined : this.#how;
  }

  /** The application has joined. @param as undefined: what it gave before stays */
  keep(as: Readonly<Record<string, unknown>> | undefined): void {
    this.#how = as ?? this.as;
  }
}

/** A message on its way to the members. */
export interface Waiting {
  /** The whole frame. */
  readonly text: string;
  readonly offset: number | undefined;
  readonly except: readonly string[] | undefined;
  readonly volatile: boolean;
}

/** What a member is to get only behind something older, which is being asked for. */
interface Hold {
  readonly messages: Waiting[];
  length: number;
  /** Requests that it is held for. */
  requests: number;
}

/** UTF-16 units that are held for one member; what is more shows that it has not got all. */
const MAX_HELD = 524_288;

/** UTF-16 units that wait within one tick before they are written all the same. */
const MAX_WAITING = 65_536;

/** A peer with more bytes to read than this gets no volatile messages. */
export const BEHIND_BYTES = 65_536;

/**
 * The members of one name at this node, and what they are sent in this tick: it leaves in one write for each of them, from
 * one buffer for all.
 */
export class Room {
  #members: Membership[] = [];
  #waiting: Waiting[] = [];
  #length = 0;
  #isSpecial = false;
  #isWriting = false;
  #held: Map<Session, Hold> | undefined;
  /** Rises with each member that comes or goes. */
  version = 0;
  /** As the rules in force have it. */
  rule: ChannelRule | undefined;

  constructor(
    readonly name: string,
    private readonly counter: SharedBytes,
  ) {}

  get members(): readonly Membership[] {
    return this.#members;
  }

  add(membership: Membership): void {
    this.#keepWritten();
    membership.indexInRoom = this.#members.push(membership) - 1;
    this.version++;
  }

  remove({ indexInRoom, session }: Membership): void {
    this.#keepWritten();
    this.#held?.delete(session);
    const last = this.#members.pop();
    if (last !== undefined && last.indexInRoom !== indexInRoom) {
      this.#members[indexInRoom] = last;
      last.indexInRoom = indexInRoom;
    }
    this.version++;
  }

  /** A write may end a session, and a listener of that may have others leave: the list that is being walked stays as it is. */
  #keepWritten(): void {
    if (this.#isWriting) this.#members = [...this.#members];
    this.#isWriting = false;
  }

  /** @param head the text of the frame without its last brace */
  send(head: string, offset: number | undefined, except: readonly string[] | undefined, volatile: boolean): void {
    if (this.#waiting.length === 0) fanOutSoon(this);
    const whole = offset === undefined ? `${head}}` : `${head},"offset":${offset}}`;
    this.#waiting.push({ text: whole, offset, except, volatile });
    this.#isSpecial ||= volatile || except !== undefined;
    this.#length += whole.length;
    if (this.#length > MAX_WAITING) this.flush();
  }

  /** From now on the member is sent nothing until {@link release}, as often as it is held. */
  hold(session: Session): void {
    this.flush();
    this.#held ??= new Map();
    const hold = this.#held.get(session);
    if (hold === undefined) this.#held.set(session, { messages: [], length: 0, requests: 1 });
    else hold.requests++;
  }

  /** @returns what the member is to get now; undefined where more came than is held */
  release(session: Session): readonly Waiting[] | undefined {
    this.flush();
    const hold = this.#held?.get(session);
    if (hold === undefined || --hold.requests > 0) return [];
    this.#held?.delete(session);
    if (this.#held?.size === 0) this.#held = undefined;
    return hold.length > MAX_HELD ? undefined : hold.messages;
  }

  flush(): void {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    const isSpecial = this.#isSpecial;
    this.#waiting = [];
    this.#length = 0;
    this.#isSpecial = false;
    this.#write(waiting, isSpecial);
  }

  #write(waiting: readonly Waiting[], isSpecial: boolean): void {
    const members = this.#members;
    const all = this.#share(waiting);
    const excepted = new Set(isSpecial ? waiting.flatMap(({ except = [] }) => except) : undefined);
    const hasVolatile = isSpecial && waiting.some((message) => message.volatile);
    const held = this.#held;
    let others: Translations | undefined;
    this.#isWriting = true;
    for (let i = 0; i < members.length; i++) {
      const { session } = members[i] as Membership; // because i stays below the length
      if (!session.mayReceive || (held !== undefined && keep(held.get(session), waiting, session))) continue;
      if (!speaksEnvelope(session)) {
        others ??= new Translations(all.texts, this.counter);
        this.#writeTranslated(others, waiting, session);
        continue;
      }
      const isBehind = hasVolatile && session.socket.bufferedAmount > BEHIND_BYTES;
      if (isBehind || (isSpecial && excepted.has(session.id))) this.#writeSome(waiting, session, isBehind);
      else session.socket.sendFrame(all);
    }
    this.#isWriting = false;
  }

  #writeTranslated(others: Translations, waiting: readonly Waiting[], session: Session): void {
    const isBehind = session.socket.bufferedAmount > BEHIND_BYTES;
    others.send(session, (index) => {
      const message = waiting[index];
      return message !== undefined && isFor(message, session, isBehind);
    });
  }

  /** To a member that not all of it is for. */
  #writeSome(waiting: readonly Waiting[], session: Session, isBehind: boolean): void {
    const some = waiting.filter((message) => isFor(message, session, isBehind));
    if (some.length > 0) session.socket.sendFrame(this.#share(some));
  }

  #share(waiting: readonly Waiting[]): SharedFrame {
    const texts = waiting.map(({ text }) => text);
    const [only = ''] = texts;
    return new SharedFrame(texts.length === 1 ? frame(only, true) : frames(texts, true), texts, this.counter);
  }
}

function isFor({ except, volatile }: Waiting, { id }: Session, isBehind: boolean): boolean {
  return except?.includes(id) !== true && !(isBehind && volatile);
}

/** @returns true where the member is held */
function keep(hold: Hold | undefined, waiting: readonly Waiting[], session: Session): boolean {
  if (hold === undefined) return false;
  const isBehind = session.socket.bufferedAmount > BEHIND_BYTES;
  for (const message of waiting) {
    if (!isFor(message, session, isBehind)) continue;
    hold.length += message.text.length;
    if (hold.length > MAX_HELD) hold.messages.length = 0;
    else hold.messages.push(message);
  }
  return true;
}
