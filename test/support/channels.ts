import { WsSessions } from '../../src/index.js';
import type { ChannelOptions, WsGatewayOptions, WsSession } from '../../src/index.js';
import { startApp } from './app.js';
import type { TestApp, TestAppOptions } from './app.js';
import { Client } from './client.js';
import type { Frame } from './client.js';
import { token } from './tokens.js';

/** A frame with the members of pushes. */
export interface Push extends Frame {
  channel?: string;
  offset?: number;
}

export const HISTORY = { count: 5, ageMs: 60_000 };

/** Rules that the dialogues are about. */
export const RULES = [
  { pattern: 'user.{subject}', subscribe: true, history: HISTORY },
  { pattern: 'staff.*', subscribe: { roles: ['staff', 'admin'] }, publish: { scopes: ['chat:write', 'chat:read'] } },
  { pattern: 'room.*', subscribe: true, publish: true, presence: 'query', history: HISTORY },
  { pattern: 'live.*', subscribe: true, publish: true, presence: 'events', publishesPerSecond: 2, maxMembers: 2 },
  { pattern: 'claimed.**', subscribe: { claims: true }, publish: { claims: true } },
  { pattern: 'mixed.*', subscribe: { roles: ['staff'], claims: true } },
  { pattern: 'public.**', subscribe: { anonymous: true } },
] as const satisfies ChannelOptions['rules'];

export interface Channels extends TestApp {
  enter(subject: string, claims?: object): Promise<Member>;
  sessionOf(member: Member): WsSession;
}

/** A client that asks, and gives the data of the answer. */
export class Member {
  #id = 0;

  constructor(
    readonly client: Client,
    readonly sessionId: string,
  ) {}

  /** The data of the answer, or of the exception. */
  async ask(event: string, data: unknown): Promise<Record<string, unknown>> {
    const answer = await this.client.ask({ event, data, id: ++this.#id });
    return answer.data as Record<string, unknown>;
  }

  async codeOf(event: string, data: unknown): Promise<unknown> {
    return (await this.ask(event, data)).code;
  }

  next(): Promise<Push> {
    return this.client.next();
  }
}

export async function startChannels(
  { rules = RULES, ...channels }: ChannelOptions = {},
  options: Omit<WsGatewayOptions, 'auth'> & { auth?: object } = {},
  setup: TestAppOptions = {},
): Promise<Channels> {
  const app = await startApp({ ...setup, options: { ...options, channels: { rules, ...channels } } });
  const enter = async (subject: string, claims: object = {}): Promise<Member> => {
    const client = await Client.connect(`${app.url}/ws`, { token: token({ sub: subject, ...claims }) });
    const { sessionId } = (await client.ask({ event: 'session', id: 0 })).data as { sessionId: string };
    return new Member(client, sessionId);
  };
  const sessionOf = ({ sessionId }: Member): WsSession => {
    const [session] = app.app.get(WsSessions).find({ sessionId });
    if (session === undefined) throw new Error('The session has ended');
    return session;
  };
  return { ...app, enter, sessionOf };
}
