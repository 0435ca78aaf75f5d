import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WsClock } from '../base/clock.js';
import type { Emitter } from '../base/emitter.js';
import { GatewayError } from '../protocol/errors.js';
import { AddressList } from './address-list.js';
import type { BanTable } from './bans.js';
import { addressOf, ClientAddresses } from './client-address.js';
import type { Client } from './client.js';
import type { ConnectionQuota } from './connection-quota.js';
import { addressKey, subjectKey } from './decisions.js';
import type { AddressLists } from './decisions.js';
import type { Enforcement } from './enforcement.js';
import type { FirewallEvent } from './events.js';
import type { ResolvedFirewall } from './options.js';
import { admitsOrigin, encounterOf } from './origins.js';
import type { BrowserCredentials, OriginRules } from './origins.js';
import type { Violations } from './violations.js';

/** Decides, question by question, whether a request may come in: its address, its Host, its Origin, its subject. */
export class Admission {
  #clients: ClientAddresses;
  #lists: Readonly<Record<keyof AddressLists, AddressList>>;
  #hasWarnedOfProxy = false;
  #acceptsHost: (host: string | undefined, isProbe: boolean) => boolean = () => true;

  /** @param options read at each question, since a reload changes them */
  constructor(
    private readonly options: ResolvedFirewall,
    private readonly clock: Pick<WsClock, 'monotonic'>,
    private readonly emitter: Emitter<FirewallEvent>,
    private readonly bans: Pick<BanTable, 'leftMs' | 'isDry'>,
    private readonly enforcement: Enforcement,
    private readonly violations: Violations,
    private readonly connections: Pick<ConnectionQuota, 'usageOf'>,
  ) {
    this.#clients = this.#makeClients();
    this.#lists = listsOf(options);
  }

  get lists(): AddressLists {
    const { allow, deny, exempt } = this.#lists;
    return { allow: allow.ranges, deny: deny.ranges, exempt: exempt.ranges };
  }

  setLists(lists: Partial<AddressLists>): void {
    this.#lists = listsOf({ ...this.lists, ...lists });
  }

  /** Trusts the proxies of the options as they are now. */
  applyProxies(): void {
    this.#clients = this.#makeClients();
  }

  /** From now on requests are answered only with a Host that `accepts` returns true for. */
  restrictHosts(accepts: (host: string | undefined, isProbe: boolean) => boolean): void {
    this.#acceptsHost = accepts;
  }

  /** True where the peer at this address is a trusted proxy. */
  isProxy(address: string): boolean {
    return this.#clients.trusts(address);
  }

  /** The client's address, for logs and records: where headers of proxies disagree, the TCP peer's. */
  addressOf(request: IncomingMessage): string {
    try {
      return this.#clients.of(request, request.socket);
    } catch {
      return addressOf(request.socket);
    }
  }

  /** @throws GatewayError BAD_UPGRADE when headers of proxies disagree */
  clientOf(request: IncomingMessage, socket: Duplex): Client {
    const address = this.#clients.of(request, socket);
    const usage = this.connections.usageOf(address);
    return { address, usage, isExempt: this.#lists.exempt.has(address) };
  }

  /** @throws GatewayError ORIGIN_FORBIDDEN */
  checkHost({ headers }: IncomingMessage, isProbe = false): void {
    if (this.#acceptsHost(headers.host, isProbe)) return;
    // No violation: a page in the browser of a legitimate user may have sent it.
    const cause = `${encounterOf(headers)}, which is not in ALLOWED_HOSTS`;
    throw new GatewayError('ORIGIN_FORBIDDEN', { message: 'Host not allowed', cause });
  }

  /**
   * @param isFirst false where the same question is asked again: a dry run logs the answer once
   * @throws GatewayError IP_FORBIDDEN, BANNED
   */
  checkLists(client: Client, isFirst = true): void {
    const { allow, deny } = this.#lists;
    const isOut = deny.has(client.address) || (!allow.isEmpty && !allow.has(client.address));
    if (isOut && (isFirst || !this.enforcement.isDry('lists'))) {
      this.violations.refuse('lists', client, () => new GatewayError('IP_FORBIDDEN'));
    }
    // No violation: a banned client that tries again would never get out.
    this.#refuseBanned(addressKey(client.usage.key), client, isFirst);
  }

  /**
   * @param rules those of the path
   * @param credentials where the path looks for tokens
   * @throws GatewayError ORIGIN_FORBIDDEN
   */
  checkOrigin(client: Client, { headers }: IncomingMessage, rules: OriginRules, credentials: BrowserCredentials): void {
    if (admitsOrigin(headers, rules, credentials)) return;
    this.violations.refuse(
      'origins',
      client,
      () => new GatewayError('ORIGIN_FORBIDDEN', { cause: encounterOf(headers) }),
    );
  }

  /**
   * @param isFirst false where the same question is asked again: a dry run logs the answer once
   * @throws GatewayError BANNED
   */
  checkSubject(client: Client, subject: string, isFirst = true): void {
    this.#refuseBanned(subjectKey(subject), client, isFirst, subject);
  }

  #makeClients(): ClientAddresses {
    return new ClientAddresses(this.options, (clientAddress) => {
      if (this.#hasWarnedOfProxy) return;
      this.#hasWarnedOfProxy = true;
      this.emitter.emit({ kind: 'proxy', clientAddress });
    });
  }

  /** A ban that was made in a dry run is enforced neither then nor later. */
  #refuseBanned(key: string, client: Client, isFirst: boolean, subject?: string): void {
    if (client.isExempt || (!isFirst && this.enforcement.isDry('bans'))) return;
    const leftMs = this.bans.leftMs(key, this.clock.monotonic());
    if (leftMs === 0 || (this.bans.isDry(key) && !this.enforcement.isDry('bans'))) return;
    const refusal = (): GatewayError => new GatewayError('BANNED', { retryAfterMs: Math.ceil(leftMs) });
    this.enforcement.enforce('bans', client.address, refusal, subject);
  }
}

function listsOf({ allow, deny, exempt }: AddressLists): Readonly<Record<keyof AddressLists, AddressList>> {
  return { allow: new AddressList(allow), deny: new AddressList(deny), exempt: new AddressList(exempt) };
}
