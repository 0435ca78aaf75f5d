import type { JwtVerifier } from '../authentication/jwt/jwt-verifier.js';
import { replaceRing } from '../data-protection/fingerprint.js';
import type { Fingerprints } from '../data-protection/fingerprint.js';
import { KeyRing } from '../data-protection/key-ring.js';
import { takeOver, WsSeal } from '../data-protection/ws-seal.js';
import type { Firewall } from '../firewall/firewall.js';
import { resolveOptions, WsGatewayOptionsError } from '../ws-gateway.options.js';
import type { ResolvedOptions, WsGatewayOptions } from '../ws-gateway.options.js';
import type { LiveOptions } from './live-options.js';
import { changesOf, flatten, withoutRestart } from './option-changes.js';
import type { FlatOptions } from './option-changes.js';

/** What became of a change of options. Options are told by their names, and nothing of what stands in them is. */
export interface ReloadReport {
  /** In force now: `auth.jwt`, `limits.maxMessageBytes` and the like. */
  readonly changed: readonly string[];
  /** Different as well, and as they were until the application starts again. */
  readonly needRestart: readonly string[];
}

/** What holds more of the options than the numbers and names that it reads anew each time. */
interface ReloadableParts {
  readonly jwt: JwtVerifier;
  readonly seal: WsSeal;
  readonly fingerprints: Fingerprints;
  readonly firewall: Firewall;
}

const LISTS = ['allow', 'deny', 'exempt'] as const;

/**
 * Changes the options of a running module: keys, limits, the firewall's lists, times. No session ends by it and no message is
 * lost: a session that is there goes on, also when its token would be refused now; what it sends from then on meets the new
 * limits. Injectable.
 */
export class WsGatewayReload {
  #inForce: FlatOptions;
  #last: Promise<unknown> = Promise.resolve();

  /** @param needsKeys false when the application has an `Authenticator` of its own */
  constructor(
    options: WsGatewayOptions,
    private readonly live: LiveOptions,
    private readonly needsKeys: boolean,
    private readonly parts: ReloadableParts,
  ) {
    this.#inForce = flatten(options);
  }

  /** @internal What is in force. */
  get options(): ResolvedOptions {
    return this.live.view;
  }

  /**
   * Checks the options as a whole and puts them in force, all at once. What is not in them has its default. One call after the
   * other is done.
   *
   * @throws WsGatewayOptionsError, as a rejection, naming everything that is wrong: then all is as it was. Error when an
   * optional package is missing
   */
  replace(options: WsGatewayOptions): Promise<ReloadReport> {
    const done = this.#last.then(() => this.#replace(options));
    this.#last = done.catch(() => undefined); // whoever asked for it is told
    return done;
  }

  async #replace(options: WsGatewayOptions): Promise<ReloadReport> {
    const asked = resolveOptions(options, this.needsKeys);
    const next = flatten(options);
    const { atRuntime, withRestart } = changesOf(this.#inForce, next);
    // What stays as it was has to fit the rest, so that is checked as a whole, too.
    const effective = withoutRestart(this.#inForce, next);
    const resolved = withRestart.length === 0 ? asked : resolveOptions(effective, this.needsKeys);
    const { auth, fingerprints, firewall, limits, sealing } = resolved;
    const { parts } = this;
    if (sealing.keys === undefined && parts.seal.isReady) {
      throw new WsGatewayOptionsError(['sealing.keys can be rotated while the module runs, and not be taken away']);
    }
    const useIssuers = parts.jwt.prepare(auth.issuers, auth.claims);
    const seal = await WsSeal.create(sealing.keys, limits);

    this.live.replace(resolved);
    useIssuers();
    takeOver(parts.seal, seal);
    const isChanged = (name: string): boolean => atRuntime.includes(name);
    if (isChanged('fingerprints.keys')) replaceRing(parts.fingerprints, fingerprints.keys ?? KeyRing.ofProcess());
    parts.firewall.admission.applyProxies();
    // Lists that the application has set stay as it has set them, unless the options have others than before.
    const lists = LISTS.filter((list) => isChanged(`firewall.${list}`));
    await parts.firewall.setLists(Object.fromEntries(lists.map((list) => [list, firewall[list]])));
    this.#inForce = flatten(effective);
    return { changed: atRuntime, needRestart: withRestart };
  }
}
