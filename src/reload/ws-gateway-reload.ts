import type { JwtAuthenticator } from '../authentication/jwt-authenticator.js';
import type { Fingerprints } from '../data-protection/fingerprint.js';
import { KeyRing } from '../data-protection/key-ring.js';
import { WsSeal } from '../data-protection/ws-seal.js';
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
    private readonly jwt: JwtAuthenticator,
    private readonly seal: WsSeal,
    private readonly fingerprints: Fingerprints,
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
    const { auth, fingerprints, limits, sealing } = resolved;
    if (sealing.keys === undefined && this.seal.isReady) {
      throw new WsGatewayOptionsError(['sealing.keys can be rotated while the module runs, and not be taken away']);
    }
    const useIssuers = await this.jwt.prepare(auth.issuers, auth.claims);
    const seal = await WsSeal.create(sealing.keys, limits);

    this.live.replace(resolved);
    useIssuers();
    this.seal.become(seal);
    if (atRuntime.includes('fingerprints.keys'))
      this.fingerprints.replaceRing(fingerprints.keys ?? KeyRing.ofProcess());
    this.#inForce = flatten(effective);
    return { changed: atRuntime, needRestart: withRestart };
  }
}
