import { Inject, Injectable } from '@nestjs/common';
import { isThenable } from '../base/thenable.js';
import { GatewayError } from '../protocol/errors.js';
import { toFailure } from '../session/failure.js';
import type { Session } from '../session/session.js';
import { ChannelBudgets } from './channel-budgets.js';
import { batchOf, channelOf, presenceOf, publicationOf, wantedOf } from './channel-requests.js';
import type { PresenceQuery, Publication, Wanted } from './channel-requests.js';
import { ChannelRights } from './channel-rights.js';
import type { Refusal } from './channel-rights.js';
import type { ChannelAct } from './channel-rules.js';
import { Members } from './members.js';
import { CHANNEL_OPTIONS } from './options.js';
import type { ResolvedChannels } from './options.js';
import type { PresentMember } from './presence.js';
import { keysOf, Publications } from './publications.js';
import { RequestOrder } from './request-order.js';
import type { Asked } from './request-order.js';
import { Subscriptions } from './subscriptions.js';
import type { Entry, Subscribed } from './subscriptions.js';

/** What is wrong with one channel of a batch. */
interface Refused {
  readonly channel?: string;
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly retryable: boolean;
    readonly retryAfterMs?: number;
    readonly details?: unknown;
  };
}

/** What has gone wrong in a batch, by its code: one line each, for however many channels. */
class Failures {
  readonly #thrown = new Map<string, { readonly error: unknown; count: number }>();

  add(code: string, error: unknown): void {
    const known = this.#thrown.get(code);
    if (known === undefined) this.#thrown.set(code, { error, count: 1 });
    else known.count++;
  }

  tell(session: Session): void {
    for (const { error, count } of this.#thrown.values()) session.failPart(error, 'subscribe', count);
  }
}

/** What clients do with channels, by `channels.rules`: subscribe, unsubscribe, publish, and ask who is there. */
@Injectable()
export class Channels {
  constructor(
    @Inject(CHANNEL_OPTIONS) private readonly options: ResolvedChannels,
    private readonly rights: ChannelRights,
    private readonly budgets: ChannelBudgets,
    private readonly order: RequestOrder,
    private readonly subscriptions: Subscriptions,
    private readonly publications: Publications,
    private readonly members: Members,
  ) {}

  /** True where there are rules. */
  get isOn(): boolean {
    return this.options.rules !== undefined;
  }

  /**
   * Subscribes to one channel, or to up to 100.
   *
   * @param answer sends the answer, before anything of the channels
   * @throws GatewayError, also as a rejection, for a single channel
   */
  subscribe(session: Session, data: unknown, asked: Asked, answer: (result: unknown) => void): void | Promise<void> {
    const batch = batchOf(data);
    if (batch !== undefined) return this.#subscribeAll(session, batch, asked, answer);
    const wanted = wantedOf(data);
    this.budgets.chargeSubscribe(session);
    return this.#allowed(session, [wanted.channel], 'subscribe', asked, ([refusal]) => {
      if (refusal !== undefined) throw refusal;
      const entry = this.subscriptions.enter(session, wanted);
      if (!isThenable(entry)) return this.#answerOne(session, entry, answer);
      return entry.then((entered) => {
        this.#demandWanted(asked, [entered]);
        this.#answerOne(session, entered, answer);
      });
    });
  }

  #answerOne(session: Session, entry: Entry, answer: (result: unknown) => void): void {
    const { answers, follow } = this.subscriptions.answer(session, [entry]);
    const [one] = answers;
    if (one instanceof GatewayError) throw one;
    this.#orGiveUp([entry], () => answer(one));
    this.budgets.chargeReplay(session, follow());
  }

  #subscribeAll(
    session: Session,
    batch: readonly Record<string, unknown>[],
    asked: Asked,
    answer: (result: unknown) => void,
  ): void | Promise<void> {
    const failures = new Failures();
    const items = batch.map((item) => this.#read(session, item, failures));
    const wanted = items.filter((item) => isWanted(item));
    const channels = wanted.map(({ channel }) => channel);
    return this.#allowed(session, channels, 'subscribe', asked, (refusals) => {
      let index = 0;
      const entered = items.map((item) =>
        isWanted(item) ? this.#enter(session, item, refusals[index++], failures) : item,
      );
      const finish = (results: readonly (Entry | Refused)[]): void =>
        this.#answerAll(session, results, failures, answer);
      if (!entered.some(isThenable)) return finish(entered as (Entry | Refused)[]); // because none is a promise
      return Promise.all(entered).then((results) => {
        this.#demandWanted(asked, entriesOf(results));
        finish(results);
      });
    });
  }

  /** A channel of a batch, or what is wrong with it. */
  #read(session: Session, item: Record<string, unknown>, failures: Failures): Wanted | Refused {
    let channel: string | undefined;
    try {
      channel = channelOf(item);
      const wanted = wantedOf(item);
      this.budgets.chargeSubscribe(session);
      return wanted;
    } catch (error) {
      return refusedBy(error, failures, channel);
    }
  }

  #enter(
    session: Session,
    wanted: Wanted,
    refusal: Refusal,
    failures: Failures,
  ): Entry | Refused | Promise<Entry | Refused> {
    if (refusal !== undefined) return refusedBy(refusal, failures, wanted.channel);
    try {
      const entry = this.subscriptions.enter(session, wanted);
      if (!isThenable(entry)) return entry;
      return entry.then(undefined, (error: unknown) => refusedBy(error, failures, wanted.channel));
    } catch (error) {
      return refusedBy(error, failures, wanted.channel);
    }
  }

  #answerAll(
    session: Session,
    results: readonly (Entry | Refused)[],
    failures: Failures,
    answer: (result: unknown) => void,
  ): void {
    const entries = entriesOf(results);
    const { answers, follow } = this.subscriptions.answer(session, entries);
    let index = 0;
    const channels = results.map((result): Subscribed | Refused => {
      if (!isEntry(result)) return result;
      const one = answers[index++];
      return one instanceof GatewayError || one === undefined ? refusedBy(one, failures, result.wanted.channel) : one;
    });
    this.#orGiveUp(entries, () => answer({ channels }));
    this.budgets.chargeReplay(session, follow());
    failures.tell(session);
  }

  #demandWanted(asked: Asked, entries: readonly Entry[]): void {
    this.#orGiveUp(entries, () => asked.demandWanted());
  }

  /** What throws ends the request: who was no subscriber before is none then. A protocol of the application's may throw. */
  #orGiveUp(entries: readonly Entry[], act: () => void): void {
    try {
      act();
    } catch (error) {
      for (const entry of entries) this.subscriptions.giveUp(entry);
      throw error;
    }
  }

  unsubscribe(session: Session, data: unknown): object | Promise<object> {
    const channel = channelOf(data);
    return this.order.behind(session, [channel], undefined, () => {
      this.subscriptions.leave(session, channel);
      return { channel };
    });
  }

  publish(session: Session, data: unknown, asked: Asked): object | Promise<object> {
    const { options } = session.server.context;
    const publication = publicationOf(data, options.errors.event);
    return this.#allowed(session, [publication.channel], 'publish', asked, ([refusal]) => {
      if (refusal !== undefined) throw refusal;
      return this.#publish(session, publication);
    });
  }

  #publish(session: Session, { channel, event, data, key, echo }: Publication): object | Promise<object> {
    this.budgets.chargePublish(session, channel);
    const owner = keysOf(session.principal?.subject, session.id);
    const sent = this.publications.publish(channel, this.publications.encode(event, data), {
      ...(!echo && { except: [session.id] }),
      ...(key !== undefined && { key: { owner, value: key } }),
    });
    const answer = ({ position, duplicate }: Awaited<typeof sent>): object => ({
      channel,
      ...position,
      ...(duplicate === true && { duplicate }),
    });
    return isThenable(sent) ? sent.then(answer) : answer(sent);
  }

  presenceOf(session: Session, data: unknown, asked: Asked): object | Promise<object> {
    const query = presenceOf(data);
    return this.#allowed(session, [query.channel], 'presence', asked, ([refusal]) => {
      if (refusal !== undefined) throw refusal;
      return this.#present(session, query);
    });
  }

  #present(session: Session, { channel, limit, cursor }: PresenceQuery): object {
    const { items, next } = this.members.page(channel, { limit, ...(cursor !== undefined && { cursor }) });
    this.budgets.chargeListing(session, items.length);
    const members = items.map(({ sessionId, subject, since }): PresentMember => ({ sessionId, subject, since }));
    return { channel, count: this.members.count(channel), members, ...(next !== undefined && { next }) };
  }

  /**
   * Acts behind earlier requests of the session for the same channels, and when it is known what is allowed.
   *
   * @param then gets what is wrong with each of the channels, undefined where nothing is
   */
  #allowed<T>(
    session: Session,
    channels: readonly string[],
    act: ChannelAct,
    asked: Asked,
    then: (refusals: readonly Refusal[]) => T | Promise<T>,
  ): T | Promise<T> {
    return this.order.behind(session, channels, asked, () => {
      const refusals = this.rights.refusals(session, channels, act);
      if (!isThenable(refusals)) return then(refusals);
      return refusals.then((known) => {
        asked.demandWanted();
        if (!session.isLive) throw new GatewayError('UNAUTHENTICATED'); // it may have been revoked meanwhile
        return then(known);
      });
    });
  }
}

function refusedBy(thrown: unknown, failures: Failures, channel?: string): Refused {
  const { code, message, retryable, retryAfterMs, details } = toFailure(thrown);
  failures.add(code, thrown);
  const rest = { ...(retryAfterMs !== undefined && { retryAfterMs }), ...(details !== undefined && { details }) };
  return { ...(channel !== undefined && { channel }), error: { code, message, retryable, ...rest } };
}

function isWanted(item: Wanted | Refused): item is Wanted {
  return 'since' in item;
}

function isEntry(result: Entry | Refused): result is Entry {
  return 'membership' in result;
}

function entriesOf(results: readonly (Entry | Refused)[]): readonly Entry[] {
  return results.filter((result) => isEntry(result));
}
