import { isDeepStrictEqual } from 'node:util';
import { Place } from '../base/options.js';
import { CONNECTION } from './options.js';
import type { ResolvedConnection } from './options.js';

/** What the decorators of a path's gateways ask for; undefined is the module's. */
export interface GatewayLimits {
  /** In bytes; the smaller of this and `limits.maxMessageBytes` counts. */
  readonly maxPayload: number | undefined;
  readonly compression: ResolvedConnection['compression'] | undefined;
}

/**
 * Options of other adapters' gateways that let clients in, keep them out or say where the server listens, with what does so here.
 * Map, not object: the application names the key.
 */
export const DOORS: ReadonlyMap<string, string> = new Map([
  ['verifyClient', 'use @UseConnectionGuards() or auth.connectionGuards'],
  ['allowRequest', 'use @UseConnectionGuards() or auth.connectionGuards'],
  ['handleProtocols', 'use @UseProtocol() with the subprotocols that the gateway speaks'],
  ['maxHttpBufferSize', 'use maxPayload or limits.maxMessageBytes'],
  ['maxFragments', 'use limits.maxFragments'],
  ['maxBufferedChunks', 'use limits.maxFragments'],
  ['pingInterval', 'use heartbeat.intervalMs'],
  ['pingTimeout', 'use heartbeat.timeoutMs'],
  ['connectTimeout', 'use auth.timeoutMs'],
  ['autoPong', 'the module answers pings, within the budget of messages'],
  ['skipUTF8Validation', 'take bytes that are no text with @SubscribeBinary()'],
  ['WebSocket', 'take the frames yourself with @RawGateway()'],
  ['server', 'give the port as the first argument, @WebSocketGateway(8080), or none for the server of the application'],
  [
    'noServer',
    'give the port as the first argument, @WebSocketGateway(8080), or none for the server of the application',
  ],
  ['port', 'give the port as the first argument: @WebSocketGateway(8080)'],
  ['host', 'leave the port out and give the address to app.listen(port, host)'],
]);

/**
 * Reads what a gateway's decorator says beside port and path.
 *
 * @param place the gateway, whose options are checked
 * @param unused takes the names of options without effect
 */
export function readGatewayOptions(given: object, place: Place, unused: string[]): GatewayLimits {
  let [maxPayload, compression]: [GatewayLimits['maxPayload'], GatewayLimits['compression']] = [undefined, undefined];
  for (const [name, value] of Object.entries(given) as [string, unknown][]) {
    if (value === undefined || name === 'path' || name === 'namespace') continue;
    const instead = DOORS.get(name);
    if (instead !== undefined) place.member(name).complain(`has no effect here: ${instead}`);
    else if (name === 'maxPayload') maxPayload = bytes(value, place.member(name));
    else if (name === 'perMessageDeflate') compression = deflate(value, place.member(name), unused);
    else unused.push(name);
  }
  return { maxPayload, compression };
}

/** What the decorator of a gateway asks for, by the name of its class. */
export interface LimitsOfGateway {
  readonly name: string;
  readonly limits: GatewayLimits;
}

/** What two gateways of a path may not have otherwise, with the name that the decorator has for it. */
const SHARED = [
  ['maxPayload', 'maxPayload'],
  ['compression', 'perMessageDeflate'],
] as const;

/** @returns a sentence for each option that two gateways of one path have otherwise; a gateway may leave it to the other */
export function disagreements(pathname: string, gateways: readonly LimitsOfGateway[]): string[] {
  return SHARED.flatMap(([option, name]) => {
    const given = gateways.filter(({ limits }) => limits[option] !== undefined);
    const [first, ...others] = given;
    const other = others.find(({ limits }) => !isDeepStrictEqual(limits[option], first?.limits[option]));
    if (first === undefined || other === undefined) return [];
    return `${first.name} and ${other.name} share ${pathname} and have different ${name}: give both the same, or one of them none`;
  });
}

function bytes(given: unknown, place: Place): number | undefined {
  if (Number.isSafeInteger(given) && (given as number) > 0) return given as number; // because it is an integer
  return place.complain(`must be an integer of at least 1, got ${String(given)}`);
}

function deflate(given: unknown, place: Place, unused: string[]): GatewayLimits['compression'] {
  if (typeof given !== 'object' || given === null) return CONNECTION.compression.read(given, place);
  const { threshold, ...others } = given as { readonly threshold?: unknown }; // because `ws` names it so
  unused.push(...Object.keys(others).map((name) => `perMessageDeflate.${name}`));
  return CONNECTION.compression.read({ thresholdBytes: threshold }, place);
}
