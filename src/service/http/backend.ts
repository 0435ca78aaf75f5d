import { Inject, Injectable } from '@nestjs/common';
import { GatewayError } from '../../protocol/errors.js';
import { isJsonObject } from '../../protocol/message.js';
import { mayClaim } from '../../rooms/channel-rules.js';
import type { ChannelRule } from '../../rooms/channel-rules.js';
import { channelOf, eventOf, invalid, keyOf } from '../../rooms/channel-requests.js';
import { CHANNEL_CLAIMS } from '../../rooms/channel-rights.js';
import type { ChannelClaims } from '../../rooms/channel-rights.js';
import { Memberships } from '../../rooms/memberships.js';
import { keysOf, Publications } from '../../rooms/publications.js';
import type { Published } from '../../rooms/ws-rooms.js';
import { WsGatewayReload } from '../../reload/ws-gateway-reload.js';
import type { AuthenticatedRequest } from './bearer.guard.js';
import type { Whose } from './everywhere.js';

/** What a backend has published, as it reads it. */
export interface PublishedItem {
  readonly channel?: string;
  readonly epoch?: string;
  readonly offset?: number;
  readonly cluster: Published['cluster'];
  readonly duplicate?: true;
}

/** What the endpoints for backends share: whom a request is about, and which channels its token is for. */
@Injectable()
export class Backend {
  constructor(
    private readonly memberships: Memberships,
    private readonly publications: Publications,
    private readonly reload: WsGatewayReload,
    @Inject(CHANNEL_CLAIMS) private readonly claims: ChannelClaims,
  ) {}

  /**
   * The rule of a channel that the token may be used for.
   *
   * @throws GatewayError VALIDATION_FAILED for a name; FORBIDDEN without a rule, and where the token names other channels
   */
  demand(request: AuthenticatedRequest, channel: string): ChannelRule {
    channelOf({ channel });
    const rule = this.memberships.ruleOf(channel);
    const claimed = this.claims(request.principal, 'publish');
    if (rule === undefined || (claimed !== undefined && !mayClaim(claimed, channel)))
      throw new GatewayError('FORBIDDEN');
    return rule;
  }

  /** @throws GatewayError, also as a rejection */
  async publish(request: AuthenticatedRequest, item: Record<string, unknown>, key: unknown): Promise<PublishedItem> {
    const channel = channelOf(item);
    this.demand(request, channel);
    const { event, data, except } = item;
    if (except !== undefined && (typeof except !== 'string' || except.length < 1 || except.length > 64)) {
      throw invalid('except', 'except', 'except must be the id of a session');
    }
    const idempotency = keyOf(key);
    const head = this.publications.encode(eventOf(event, this.reload.options.errors.event), data);
    const { position, cluster, duplicate } = await this.publications.publish(channel, head, {
      ...(except !== undefined && { except: [except] }),
      ...(idempotency !== undefined && { key: { owner: keysOf(request.principal.subject, ''), value: idempotency } }),
    });
    return { ...position, cluster, ...(duplicate === true && { duplicate }) };
  }

  /**
   * Whom a body is about.
   *
   * @throws GatewayError VALIDATION_FAILED for both, or none
   */
  whoseOf({ sessionId, subject }: Record<string, unknown>): Whose {
    if ((sessionId === undefined) === (subject === undefined)) {
      throw invalid('', 'target', 'either sessionId or subject must be given');
    }
    if (sessionId !== undefined) return { sessionId: textOf('sessionId', sessionId, 64) };
    return { subject: textOf('subject', subject, 1_024) };
  }
}

function textOf(name: string, value: unknown, most: number): string {
  if (typeof value === 'string' && value.length >= 1 && value.length <= most) return value;
  throw invalid(name, name, `${name} must be a string of 1 to ${most} characters`);
}

/** @throws GatewayError VALIDATION_FAILED for what is no object, and for one with members that it cannot have */
export function bodyOf(value: unknown, names: readonly string[]): Record<string, unknown> {
  if (!isJsonObject(value)) throw invalid('', 'isObject', 'the body must be an object');
  if (Object.keys(value).some((name) => !names.includes(name))) {
    throw invalid('', 'unknownProperty', `the body has ${names.join(', ')} alone`);
  }
  return value;
}
