import type { Server as HttpServer } from 'node:http';
import { Server as HttpsServer } from 'node:https';
import type { Logger } from 'pino';
import type { WsGatewayReload } from '../reload/ws-gateway-reload.js';
import { WsGatewayOptionsError } from '../ws-gateway.options.js';
import { ConfigurationError, LOG_LEVELS } from './configuration/configuration.js';
import type { LogLevel, ServiceConfiguration } from './configuration/configuration.js';
import { endOf, readTls, tlsChanges, useTls, watchTls } from './configuration/tls.js';
import type { TlsMaterial } from './configuration/tls.js';

/**
 * Reads the configuration anew: everything on SIGHUP, the files of TLS also when they change. It is checked as a whole; when
 * something is wrong with it, all stays as it was. The log has one line of what became of it.
 */
export class ServiceReload {
  #level: LogLevel;
  #tls: TlsMaterial | undefined;
  #running = false;
  #again = false;

  /**
   * @param configuration what the service has started with
   * @param read the configuration as it is now; throws ConfigurationError
   */
  constructor(
    private readonly configuration: ServiceConfiguration,
    private readonly read: () => ServiceConfiguration,
    private readonly gateway: WsGatewayReload,
    private readonly server: HttpServer,
    private readonly pino: Logger,
  ) {
    this.#level = configuration.logLevel;
    this.#tls = configuration.tls;
  }

  /** @returns a function that ends it */
  start(): () => void {
    const onHangUp = (): void => this.request();
    process.on('SIGHUP', onHangUp);
    const { tls, tlsFiles } = this.configuration;
    const stopWatching =
      tls &&
      watchTls(
        tlsFiles,
        () => this.#reloadTls(),
        (problems) => this.#kept(problems),
      );
    return () => {
      process.off('SIGHUP', onHangUp);
      stopWatching?.();
    };
  }

  /** Reloads; one who asks meanwhile gets one more, and no more than that. */
  request(): void {
    if (this.#running) return void (this.#again = true);
    this.#running = true;
    this.#reload()
      .catch((error: unknown) => this.pino.error({ err: error }, 'The reload failed; all is as it was'))
      .finally(() => {
        this.#running = false;
        if (!this.#again) return;
        this.#again = false;
        this.request();
      });
  }

  async #reload(): Promise<void> {
    let next: ServiceConfiguration;
    let report: Awaited<ReturnType<WsGatewayReload['replace']>>;
    try {
      next = this.read();
      report = await this.gateway.replace(next.gateway);
    } catch (error) {
      if (!(error instanceof ConfigurationError || error instanceof WsGatewayOptionsError)) throw error;
      return this.#kept(error.problems);
    }
    const changed = [...report.changed, ...(next.tls === undefined ? [] : this.#useTls(next.tls))];
    if (next.logLevel !== this.#level) changed.push('logLevel');
    // The line reaches the listeners of before and of from now on.
    this.pino.level = [this.#level, next.logLevel].toSorted(
      (a, b) => LOG_LEVELS.indexOf(b) - LOG_LEVELS.indexOf(a),
    )[0] as LogLevel; // because there are two
    const { needRestart } = report;
    this.pino[needRestart.length > 0 ? 'warn' : 'info'](
      { changed, ...(needRestart.length > 0 && { needRestart }) },
      changed.length === 0 ? 'Reloaded; nothing has changed' : 'Reloaded',
    );
    this.#level = next.logLevel;
    this.pino.level = next.logLevel;
  }

  /** @returns what is wrong */
  #reloadTls(): readonly string[] {
    const problems: string[] = [];
    const next = readTls(this.configuration.tlsFiles, problems);
    if (next === undefined || problems.length > 0) return problems;
    const changed = this.#useTls(next);
    if (changed.length > 0) this.pino.info({ changed, certificateUntil: endOf(next) }, 'Reloaded');
    return [];
  }

  /** @returns what has changed */
  #useTls(next: TlsMaterial): string[] {
    if (this.#tls === undefined || !(this.server instanceof HttpsServer)) return [];
    const changed = tlsChanges(this.#tls, next);
    if (changed.length > 0) useTls(this.server, next);
    this.#tls = next;
    return changed;
  }

  #kept(problems: readonly string[]): void {
    this.pino.error({ problems }, 'The configuration is not valid; all is as it was');
  }
}
