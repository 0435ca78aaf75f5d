import type { KeyRing } from '../data-protection/key-ring.js';
import type { OptionCheck } from '../base/options.js';
import { DISCLOSURES, PRIVACY_DEFAULTS } from './privacy.js';
import type { PrivacyOptions } from './privacy.js';

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

export interface MonitoringOptions {
  /** Collects metrics for Prometheus; needs the package prom-client. @default false; true when there is a `registry` */
  metrics?: boolean;
  /** The registry of prom-client that the metrics go into. @default one of their own */
  registry?: MetricsRegistry;
  /**
   * Makes spans of upgrades, messages and handlers, where `@opentelemetry/api` is installed and a tracer provider is
   * registered before the application starts. @default true
   */
  traces?: boolean;
}

export const MONITORING_DEFAULTS = Object.freeze({ metrics: false, traces: true } as const);

export interface ResolvedMonitoring {
  readonly metrics: boolean;
  readonly registry: MetricsRegistry | undefined;
  readonly traces: boolean;
}

export function resolveMonitoring(check: OptionCheck, value: unknown): ResolvedMonitoring {
  const given = check.object(value, 'monitoring', ['registry', ...Object.keys(MONITORING_DEFAULTS)]);
  const registry = registryOf(check, given.registry);
  const metrics = check.boolean(given.metrics, 'monitoring.metrics', registry !== undefined);
  if (registry !== undefined && !metrics) check.problem('monitoring.registry', 'has no effect when metrics is false');
  return {
    metrics,
    registry,
    traces: check.boolean(given.traces, 'monitoring.traces', MONITORING_DEFAULTS.traces),
  };
}

function registryOf(check: OptionCheck, value: unknown): MetricsRegistry | undefined {
  if (value === undefined) return undefined;
  const registry = value as Partial<MetricsRegistry> | null; // because what it has is looked at here
  if (typeof registry?.registerMetric === 'function' && typeof registry.metrics === 'function')
    return value as MetricsRegistry;
  return void check.problem('monitoring.registry', 'must be a Registry of prom-client');
}

/** @param keys of `fingerprints`, which make pseudonyms where there is no key for the purpose */
export function resolvePrivacy(check: OptionCheck, value: unknown, keys: KeyRing | undefined): PrivacyOptions {
  const given = check.object(value, 'privacy', ['key', ...Object.keys(PRIVACY_DEFAULTS)]);
  const one = (name: keyof typeof PRIVACY_DEFAULTS): PrivacyOptions['subject'] =>
    check.oneOf(given[name], `privacy.${name}`, DISCLOSURES, PRIVACY_DEFAULTS[name]);
  const resolved = {
    subject: one('subject'),
    email: one('email'),
    address: one('address'),
    key: keyOf(check, given.key),
  };
  const hasPseudonyms = [resolved.subject, resolved.email, resolved.address].includes('pseudonym');
  if (hasPseudonyms && given.key === undefined && keys === undefined) {
    check.problem('privacy.key', 'is needed for pseudonyms, unless there are fingerprints.keys');
  }
  return resolved;
}

function keyOf(check: OptionCheck, value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'string' && Buffer.byteLength(value) >= 32) return value;
  return void check.problem('privacy.key', 'must be a string of at least 32 bytes'); // and it is not shown
}
