import { Inject, Injectable } from '@nestjs/common';
import { CONNECTION_OPTIONS } from './options.js';
import type { ConnectionOptions } from './options.js';
import { overriddenBy } from './path-options.js';
import type { ResolvedPaths } from './path-options.js';

/** The options in force for each path. */
@Injectable()
export class OptionsByPath {
  readonly #views = new Map<string, ConnectionOptions>();

  constructor(@Inject(CONNECTION_OPTIONS) readonly shared: ConnectionOptions & { readonly paths: ResolvedPaths }) {}

  /** What a server reads at each message: the same object, with the same groups, for the life of the module. */
  of(pathname: string): ConnectionOptions {
    const known = this.#views.get(pathname);
    if (known !== undefined) return known;
    const view = overriddenBy<ConnectionOptions>(this.shared, this.shared.paths[pathname]);
    this.#views.set(pathname, view);
    return view;
  }

  /** The module's options, or those by path, are others than before. */
  apply(): void {
    for (const [pathname, view] of this.#views) {
      const next = overriddenBy<ConnectionOptions>(this.shared, this.shared.paths[pathname]);
      Object.assign(view.limits, next.limits);
      Object.assign(view.heartbeat, next.heartbeat);
      Object.assign(view.auth, next.auth);
      Object.assign(view.firewall, next.firewall);
    }
  }
}
