import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { containWithin } from '../base/contain.js';
import { isThenable } from '../base/thenable.js';
import { GatewayError } from '../protocol/errors.js';
import { unavailable } from '../protocol/unavailable.js';
import { isGatewayError } from '../session/failure.js';
import type { Session } from '../session/session.js';
import type { ChannelAuthorizer } from './channel-authorizer.js';
import { mayDo } from './channel-rules.js';
import type { ChannelAct, Rightholder } from './channel-rules.js';
import { Memberships } from './memberships.js';
import { CHANNEL_OPTIONS } from './options.js';
import type { ResolvedChannels } from './options.js';

/** Token of {@link ChannelClaims}. */
export const CHANNEL_CLAIMS = Symbol('nestjs-ws-gateway.channel-claims');

type Principal = NonNullable<Session['principal']>;

/** The channels that a token names, as its claim has them; undefined without the claim. */
export type ChannelClaims = (principal: Principal, act: 'subscribe' | 'publish') => readonly unknown[] | undefined;

/** Why a session may not; undefined where it may. */
export type Refusal = GatewayError | undefined;

/** The application has so long to say whether a session may, in milliseconds. */
const AUTHORIZER_MS = 5_000;

/** Whether a session may do something in a channel: by the rules, and then by the application's {@link ChannelAuthorizer}. */
@Injectable()
export class ChannelRights {
  /** The application's, where it has one. */
  authorizer: ChannelAuthorizer | undefined;

  constructor(
    @Inject(CHANNEL_OPTIONS) private readonly options: ResolvedChannels,
    @Inject(CHANNEL_CLAIMS) private readonly claims: ChannelClaims,
    private readonly memberships: Memberships,
    private readonly clock: WsClock,
  ) {}

  /** @returns a promise where the application is asked and answers later; it never rejects */
  refusal(session: Session, channel: string, act: ChannelAct): Refusal | Promise<Refusal> {
    const refusal = this.refusalByRule(session, channel, act);
    if (refusal !== undefined || this.authorizer === undefined) return refusal;
    return this.#ask(this.authorizer, session, channel, act);
  }

  /** What is wrong with each of the channels, undefined where nothing is; a promise as that of {@link refusal}. */
  refusals(
    session: Session,
    channels: readonly string[],
    act: ChannelAct,
  ): readonly Refusal[] | Promise<readonly Refusal[]> {
    const asked = channels.map((channel) => this.refusal(session, channel, act));
    if (!asked.some(isThenable)) return asked as Refusal[]; // because none is a promise
    // Time has passed when the application has answered: the rights may be others.
    return Promise.all(asked).then((refusals) =>
      channels.map((channel, index) => refusals[index] ?? this.refusalByRule(session, channel, act)),
    );
  }

  refusalByRule(session: Session, channel: string, act: ChannelAct): Refusal {
    return this.#mayDo(session, channel, act)
      ? undefined
      : new GatewayError(session.principal === undefined ? 'UNAUTHENTICATED' : 'FORBIDDEN');
  }

  #mayDo(session: Session, channel: string, act: ChannelAct): boolean {
    const { rules = [] } = this.options;
    const { principal } = session;
    const who = principal === undefined ? undefined : rightholderOf(principal, this.claims);
    if (act !== 'presence') return mayDo(rules, channel, act, who);
    const rule = this.memberships.ruleOf(channel);
    if (rule === undefined || rule.presence === false) return false;
    return this.memberships.find(session, channel) !== undefined || mayDo(rules, channel, 'subscribe', who);
  }

  #ask(authorizer: ChannelAuthorizer, session: Session, channel: string, act: ChannelAct): Refusal | Promise<Refusal> {
    try {
      const answer: unknown = authorizer.authorize(session, channel, act);
      return isThenable(answer) ? this.#wait(answer, session) : refusalOf(answer);
    } catch (error) {
      return authorizerFailed(session, error);
    }
  }

  /** So long that it answers before the request that waits for it is out of time. */
  async #wait(answer: PromiseLike<unknown>, session: Session): Promise<Refusal> {
    const { handlerTimeoutMs } = session.server.context.options.limits;
    let refusal: Refusal = new GatewayError('FORBIDDEN');
    const waited = async (): Promise<void> => {
      refusal = refusalOf(await answer);
    };
    await containWithin(waited, Math.min(AUTHORIZER_MS, handlerTimeoutMs / 2), this.clock, (error) => {
      refusal = authorizerFailed(session, error);
    });
    return refusal;
  }
}

function refusalOf(answer: unknown): Refusal {
  return answer === true ? undefined : new GatewayError('FORBIDDEN');
}

function authorizerFailed(session: Session, error: unknown): GatewayError {
  if (isGatewayError(error) && error.code !== 'INTERNAL') return error;
  session.onFault(error, 'ChannelAuthorizer.authorize');
  return unavailable(error);
}

function rightholderOf(principal: Principal, claims: ChannelClaims): Rightholder {
  const { subject, roles, scopes } = principal;
  return { subject, roles, scopes, channelsFor: (act) => claims(principal, act) ?? [] };
}
