import type { WsGatewayOptions } from '../../src/index.js';
import { startApp, stopApps } from './app.js';
import type { TestApp } from './app.js';
import { startTcp, UpstreamApp } from './upstream.js';

const apps: UpstreamApp[] = [];
const servers: Awaited<ReturnType<typeof startTcp>>[] = [];

/** An application, stopped by {@link stopProxies}. */
export async function upstream(...args: Parameters<typeof UpstreamApp.start>): Promise<UpstreamApp> {
  const app = await UpstreamApp.start(...args);
  apps.push(app);
  return app;
}

/** A TCP server, stopped by {@link stopProxies}. */
export async function tcpUpstream(...args: Parameters<typeof startTcp>): ReturnType<typeof startTcp> {
  const server = await startTcp(...args);
  servers.push(server);
  return server;
}

export type ProxyTestOptions = Omit<WsGatewayOptions, 'auth'> & { auth?: object };

/** A gateway in front of applications at `/chat`; tokens come in the header unless the options say otherwise. */
export function proxy(
  url: string | string[],
  options: object = {},
  { auth, ...rest }: ProxyTestOptions = {},
): Promise<TestApp> {
  const upstreams = { '/chat': { urls: [url].flat(), ...options } };
  return startApp({ options: { upstreams, ...rest, auth: { sources: ['header'], ...auth } } });
}

/** For `afterEach`. */
export async function stopProxies(): Promise<void> {
  await stopApps();
  await Promise.all(apps.splice(0).map((app) => app.stop()));
  for (const { server, sockets } of servers.splice(0)) {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}
