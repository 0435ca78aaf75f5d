import { count, flag, group, listOf, oneOf, Option, text, whole } from '../base/options.js';
import type { GivenOf, Place, ResolvedOf } from '../base/options.js';
import type { Window } from '../engine/engine.js';
import { covers, MAX_PATTERN_LENGTH, segmentsOf, shapeOf } from './channel-rules.js';
import type { ChannelAccess, ChannelRule } from './channel-rules.js';

/** Token of `options.rooms`. */
export const ROOM_OPTIONS = Symbol('nestjs-ws-gateway.room-options');
/** Token of `options.channels`. */
export const CHANNEL_OPTIONS = Symbol('nestjs-ws-gateway.channel-options');

export const ROOMS = group({
  /** Rooms that one session may be in, channels included; one more is SUBSCRIPTION_LIMIT. */
  maxPerSession: whole(1, 10_000, 100),
  /** Rooms with members in this process; one more is SUBSCRIPTION_LIMIT. */
  maxPerProcess: whole(1, 10_000_000, 100_000),
  /** Memberships of all sessions of this process; one more is SUBSCRIPTION_LIMIT. */
  maxMembershipsPerProcess: whole(1, 10_000_000, 1_000_000),
  /** Members of one room in this process; `Infinity` is off. One more is SUBSCRIPTION_LIMIT. */
  maxMembers: count(1, 10_000_000, Infinity),
  /** Largest message that is published, in bytes of its data as JSON; a larger one is VALIDATION_FAILED, rule `maxBytes`. */
  maxMessageBytes: whole(1, 1_048_576, 65_536),
});

const NAMES = { names: 'non-empty strings', schema: { type: 'string', minLength: 1 }, read: readName };

function readName(given: unknown): string | undefined {
  return typeof given === 'string' && given !== '' ? given : undefined;
}

/** Each that is given has to hold, except `claims`, which is an alternative to roles and scopes. */
const ACCESS = group({
  /** One of these roles. */
  roles: listOf(NAMES, undefined, { min: 1 }),
  /** All of these scopes. */
  scopes: listOf(NAMES, undefined, { min: 1 }),
  /** The token names the channel in its claim, `auth.claims.channels`. */
  claims: flag(false),
  /** Sessions without a principal as well. */
  anonymous: flag(false),
});

function access(): Option<boolean | GivenOf<typeof ACCESS>, ChannelAccess | undefined> {
  const schema = { anyOf: [{ type: 'boolean' }, ACCESS.schema] };
  return new Option(undefined, schema, (given, place) => {
    if (given === false) return undefined;
    return ACCESS.read(given === true ? {} : given, place);
  });
}

const WINDOW = group({ count: whole(1, 10_000), ageMs: whole(1_000, 86_400_000) });

function readHistory(given: unknown, place: Place): Window | undefined {
  const { count: most, ageMs } = WINDOW.read(given, place);
  if (most !== undefined && ageMs !== undefined) return { count: most, ageMs };
  return place.complain('must have count and ageMs');
}

const RULE = group(
  {
    /** Segments between dots: `*` is any one, `**` at the end all that follow, `{subject}` the subject as `encodeURIComponent` writes it. */
    pattern: text(1, MAX_PATTERN_LENGTH),
    /** Who may subscribe; `true`: all who have authenticated. */
    subscribe: access(),
    /** Which clients may publish. */
    publish: access(),
    /** `query`: subscribers may ask who is there; `events`: they get a push when others come and go as well. */
    presence: new Option<false | 'query' | 'events', false | 'query' | 'events', false>(
      false,
      { enum: [false, 'query', 'events'] },
      (given, place) => (given === false ? false : oneOf(['query', 'events']).read(given, place)),
    ),
    /** What is kept for clients that come back. */
    history: new Option<Window, Window | undefined>(undefined, WINDOW.schema, readHistory),
    /** Messages that a session may publish in one channel in a second. */
    publishesPerSecond: whole(1, 10_000),
    /** Members of one channel in this process. */
    maxMembers: whole(1, 10_000_000),
  },
  ({ pattern = '', ...read }, place): ChannelRule => {
    const segments = segmentsOf(pattern, true);
    if (segments === undefined) {
      place
        .member('pattern')
        .complain('must be segments of A-Za-z0-9_:=@%~-, *, {subject} and ** at the end, with dots between');
    }
    return { ...read, pattern, segments: segments ?? [], shape: shapeOf(segments ?? []) };
  },
);
/** A rule as it is given. */
export type ChannelRuleOptions = GivenOf<typeof RULE>;

const MAX_RULES = 100;

const RULES = new Option<readonly ChannelRuleOptions[], readonly ChannelRule[] | undefined>(
  undefined,
  { type: 'array', maxItems: MAX_RULES, items: RULE.schema },
  (given, place) => {
    if (!Array.isArray(given) || given.length > MAX_RULES) {
      return place.complain(`must be a list of at most ${MAX_RULES} rules`);
    }
    const rules = given.map((one, index) => RULE.read(one, place.item(index)));
    for (const [index, rule] of rules.entries()) {
      const earlier = rules.slice(0, index).find(({ segments }) => covers(segments, rule.segments));
      if (earlier === undefined || rule.segments.length === 0) continue;
      place
        .item(index)
        .member('pattern')
        .complain(`is never reached: ${earlier.pattern} comes first and matches all of it`);
    }
    return rules;
  },
);

export const CHANNELS = group({
  /** Who may do what in which channel, at most 100 rules; the first that matches decides. Unset: there are no channels, and no events for them. */
  rules: RULES,
  /** Channels that a session may subscribe to in a second, and ten times as many at once; a batch costs its length. */
  subscribesPerSecondPerSession: whole(1, 10_000, 20),
  /** The most that is replayed to a client that comes back to one channel. */
  maxReplay: group({
    /** Messages. */
    messages: whole(0, 5_000, 500),
    /** Bytes, and never more than half of `limits.maxOutboundBytes`. */
    bytes: whole(0, 134_217_728, 524_288),
  }),
  /** Bytes of the histories of all channels in this process; over it the channel that was used longest ago loses its history. */
  maxHistoryBytes: whole(1_048_576, 68_719_476_736, 67_108_864),
});

export interface RoomOptions extends GivenOf<typeof ROOMS> {}
export interface ResolvedRooms extends ResolvedOf<typeof ROOMS> {}
export interface ChannelOptions extends GivenOf<typeof CHANNELS> {}
export interface ResolvedChannels extends ResolvedOf<typeof CHANNELS> {}
