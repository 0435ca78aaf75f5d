import type { WsClock } from '../base/clock.js';
import { GatewayError } from '../protocol/errors.js';
import { countedAs, rangesOf } from './client-address.js';
import type { Client } from './client.js';
import type { Enforcement } from './enforcement.js';
import type { ResolvedFirewall } from './options.js';
import { AddressCounts, capsOf } from './socket-quota.js';
import { AddressUsage, UsageTable } from './usage.js';
import type { Violations } from './violations.js';

/** How long a client that met a full address or process should wait, in milliseconds. */
const RETRY_AFTER_MS = 5_000;

/** How many connections the process, an address and its ranges have, and how many handshakes a second. */
export class ConnectionQuota {
  readonly #addresses: UsageTable<AddressUsage>;
  /** Connections of IPv6 by /64, /56 and /48. */
  readonly #ranges = new AddressCounts();
  #size = 0;

  /** @param options read at each question, since a reload changes them */
  constructor(
    private readonly options: ResolvedFirewall,
    private readonly clock: Pick<WsClock, 'monotonic'>,
    private readonly enforcement: Enforcement,
    private readonly violations: Violations,
  ) {
    this.#addresses = new UsageTable((key) => new AddressUsage(key, options, clock.monotonic()));
  }

  /** Connections of the process. */
  get size(): number {
    return this.#size;
  }

  /** Addresses that are held, those without a connection included. */
  get addresses(): number {
    return this.#addresses.size;
  }

  usageOf(address: string): AddressUsage {
    return this.#addresses.of(countedAs(address), this.clock.monotonic());
  }

  /** @throws GatewayError TOO_MANY_CONNECTIONS */
  checkAddress(client: Client): void {
    if (client.usage.users >= this.options.maxConnectionsPerAddress || this.#isRangeFull(client.address)) {
      const refusal = (): GatewayError => new GatewayError('TOO_MANY_CONNECTIONS', { retryAfterMs: RETRY_AFTER_MS });
      this.violations.refuse('connections', client, refusal);
    }
    this.checkHandshakes(client);
  }

  /** Charges the address for one more handshake, or for one request over HTTP. @throws GatewayError TOO_MANY_CONNECTIONS */
  checkHandshakes(client: Client): void {
    if (client.isExempt) return;
    const { options } = this;
    const { handshakes, failures } = client.usage;
    const now = this.clock.monotonic();
    const { handshakesPerSecondPerAddress: rate, handshakeBurstPerAddress: burst } = options;
    const perMinute = options.failedAuthenticationsPerMinutePerAddress;
    const wait = handshakes.take(1, rate, burst, now) || failures.waitFor(1, perMinute / 60, perMinute, now);
    if (wait === 0) return;
    const refusal = (): GatewayError => new GatewayError('TOO_MANY_CONNECTIONS', { retryAfterMs: wait });
    this.violations.refuse('handshakes', client, refusal);
  }

  /**
   * Charges the address for a probe, from a budget as large as that of handshakes and apart from it: a flood of handshakes must not
   * make a process look dead, nor its probes keep clients out.
   *
   * @throws GatewayError TOO_MANY_CONNECTIONS
   */
  checkProbes(client: Client): void {
    if (client.isExempt) return;
    const { handshakesPerSecondPerAddress: rate, handshakeBurstPerAddress: burst } = this.options;
    const wait = client.usage.probe(rate, burst, this.clock.monotonic());
    if (wait === 0) return;
    // No violation: a monitor of the server has no other address to probe it from.
    const refusal = (): GatewayError => new GatewayError('TOO_MANY_CONNECTIONS', { retryAfterMs: wait });
    this.enforcement.enforce('handshakes', client.address, refusal);
  }

  /** @throws GatewayError OVERLOADED */
  checkCapacity(): void {
    if (this.#size < this.options.maxConnections) return;
    const refusal = (): GatewayError => new GatewayError('OVERLOADED', { retryAfterMs: RETRY_AFTER_MS });
    this.enforcement.enforce('connections', undefined, refusal);
  }

  /** Counts the connection until {@link leave}. */
  enter({ address, usage }: Client): void {
    this.#size++;
    if (address.includes(':')) this.#ranges.enter(rangesOf(address));
    this.#addresses.hold(usage);
  }

  leave({ address, usage }: Client): void {
    this.#size--;
    if (address.includes(':')) this.#ranges.leave(rangesOf(address));
    this.#addresses.release(usage, this.clock.monotonic());
  }

  /** Remembers addresses for at least so long, in milliseconds: by coming back within it, a client gets no fresh budget. */
  remember(ms: number): void {
    this.#addresses.remember(ms);
  }

  sweep(now: number): void {
    this.#addresses.sweep(now);
  }

  /** One customer has 65,536 of the /64 networks that count as an address. */
  #isRangeFull(address: string): boolean {
    if (!address.includes(':')) return false;
    return this.#ranges.isFull(rangesOf(address), capsOf(this.options.maxConnectionsPerAddress, this.options));
  }
}
