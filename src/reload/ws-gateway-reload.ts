import { resolveOptions } from '../ws-gateway.options.js';
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
  ) {
    this.#inForce = flatten(options);
  }

  /** @internal What is in force. */
  get options(): ResolvedOptions {
    return this.live.current;
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
    this.#last = done.catch(() => undefined); // its caller gets the error
    return done;
  }

  async #replace(options: WsGatewayOptions): Promise<ReloadReport> {
    const asked = resolveOptions(options, this.needsKeys);
    const next = flatten(options);
    const { atRuntime, withRestart } = changesOf(this.#inForce, next);
    // What stays as it was has to fit the rest, so that is checked as a whole, too.
    const effective = withoutRestart(this.#inForce, next);
    const resolved = withRestart.length === 0 ? asked : resolveOptions(effective, this.needsKeys);
    await this.live.replace(resolved, (name) => atRuntime.includes(name));
    this.#inForce = flatten(effective);
    return { changed: atRuntime, needRestart: withRestart };
  }
}
