import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Server, ServerResponse } from 'node:http';
import type { KeyObject } from 'node:crypto';
import type { AddressInfo } from 'node:net';

/** An issuer's endpoint, for as long as a test wants it. */
export interface KeyServer {
  uri: string;
  /** What it answers; a number is a status without keys, and undefined is silence. */
  answer: object | number | string | undefined;
  /** Answers those who were met with silence. */
  answerWaiting: (answer: object) => void;
  /** How often it was asked. */
  requests: number;
  stop: () => Promise<void>;
  restart: () => Promise<void>;
}

const running = new Set<Server>();

export async function startKeyServer(answer: KeyServer['answer']): Promise<KeyServer> {
  const waiting: ServerResponse[] = [];
  const http = createServer((_, response) => {
    server.requests++;
    if (server.answer === undefined) return void waiting.push(response);
    if (typeof server.answer === 'number') return void response.writeHead(server.answer).end();
    response.setHeader('content-type', 'application/json');
    response.end(typeof server.answer === 'string' ? server.answer : JSON.stringify(server.answer));
  });
  const listen = async (port: number): Promise<void> => {
    http.listen(port, '127.0.0.1');
    await once(http, 'listening');
    running.add(http);
  };
  await listen(0);
  const { port } = http.address() as AddressInfo;
  const server: KeyServer = {
    uri: `http://127.0.0.1:${port}/jwks.json`,
    answer,
    answerWaiting: (late) => {
      for (const response of waiting.splice(0)) response.end(JSON.stringify(late));
    },
    requests: 0,
    stop: () => stop(http),
    restart: () => listen(port),
  };
  return server;
}

export function jwk(key: KeyObject, kid?: string, rest: object = {}): object {
  return { ...key.export({ format: 'jwk' }), use: 'sig', ...(kid !== undefined && { kid }), ...rest };
}

async function stop(http: Server): Promise<void> {
  running.delete(http);
  http.closeAllConnections();
  http.close();
  await once(http, 'close');
}

/** For `afterEach`. */
export async function stopKeyServers(): Promise<void> {
  await Promise.all([...running].map(stop));
}
