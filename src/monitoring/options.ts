import { flag, group, oneOf, Option } from '../base/options.js';
import type { GivenOf, Place, ResolvedOf } from '../base/options.js';

/** Token of `options.monitoring`. */
export const MONITORING_OPTIONS = Symbol('nestjs-ws-gateway.monitoring-options');
/** Token of `options.privacy`. */
export const PRIVACY_OPTIONS = Symbol('nestjs-ws-gateway.privacy-options');

/** What is needed of a registry of `prom-client`. */
export interface MetricsRegistry {
  readonly contentType: string;
  registerMetric(metric: never): void;
  metrics(): Promise<string>;
}

export const MONITORING = group(
  {
    /** The registry of prom-client that the metrics go into. @default one of their own */
    registry: new Option<MetricsRegistry, MetricsRegistry | undefined>(undefined, undefined, readRegistry),
    /** Collects metrics for Prometheus; needs the package prom-client. @default false; true when there is a `registry` */
    metrics: flag(false),
    /**
     * Makes spans of upgrades, messages and handlers, where `@opentelemetry/api` is installed and a tracer provider is
     * registered before the application starts.
     */
    traces: flag(true),
  },
  (monitoring, place, given) => {
    const { registry } = monitoring;
    if (registry === undefined || monitoring.metrics) return monitoring;
    if (given.metrics === false) place.member('registry').complain('has no effect when metrics is false');
    return { ...monitoring, metrics: true };
  },
);

export interface MonitoringOptions extends GivenOf<typeof MONITORING> {}
export interface ResolvedMonitoring extends ResolvedOf<typeof MONITORING> {}

function readRegistry(given: unknown, place: Place): MetricsRegistry | undefined {
  const registry = given as Partial<MetricsRegistry> | null; // because what it has is looked at here
  if (typeof registry?.registerMetric === 'function' && typeof registry.metrics === 'function')
    return given as MetricsRegistry;
  return place.complain('must be a Registry of prom-client');
}

export const DISCLOSURES = ['clear', 'masked', 'pseudonym'] as const;
/** How a personal value is shown: as it is, cut down so that it names a group, or as a keyed hash. */
export type Disclosure = (typeof DISCLOSURES)[number];

/** How the log and the audit show personal data. Tokens and payloads are in neither. */
export const PRIVACY = group({
  /** The token's `sub`; of an administrator, too. Masked: `a***`. */
  subject: oneOf(DISCLOSURES, 'clear'),
  /** Masked: `a***@example.org`. */
  email: oneOf(DISCLOSURES, 'clear'),
  /** Of the client. Masked: IPv4 to its /24, IPv6 to its /48. */
  address: oneOf(DISCLOSURES, 'clear'),
  /** Key of the pseudonyms, at least 32 bytes in UTF-8. @default `fingerprints.keys`; one of the two has to be set */
  key: new Option<string, string | undefined>(undefined, { type: 'string' }, readKey),
});

export interface PrivacyOptions extends GivenOf<typeof PRIVACY> {}

/** It does not show the key. */
function readKey(given: unknown, place: Place): string | undefined {
  if (typeof given === 'string' && Buffer.byteLength(given) >= 32) return given;
  return place.complain('must be a string of at least 32 bytes');
}

/** @param hasKeys true when there are `fingerprints.keys`, which make pseudonyms where there is no key for the purpose */
export function checkPrivacy(place: Place, privacy: ResolvedOf<typeof PRIVACY>, hasKeys: boolean): void {
  const hasPseudonyms = [privacy.subject, privacy.email, privacy.address].includes('pseudonym');
  if (hasPseudonyms && privacy.key === undefined && !hasKeys) {
    place.member('key').complain('is needed for pseudonyms, unless there are fingerprints.keys');
  }
}
