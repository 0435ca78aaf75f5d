import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it } from 'vitest';
import { Fingerprints, GatewayError, Public } from '../../../src/index.js';
import { startApp, stopApps, until } from '../../support/app.js';
import { Client, refusal } from '../../support/client.js';
import { token } from '../../support/tokens.js';

afterEach(stopApps);

@WebSocketGateway()
class QuotingGateway {
  @Public()
  @SubscribeMessage('fault')
  fault(@MessageBody() data: string): void {
    throw new Error(`cannot take ${data}`);
  }

  @Public()
  @SubscribeMessage('refusal')
  refusal(@MessageBody() data: string): void {
    throw new GatewayError('ORDER_CLOSED', { message: `closed to ${data}`, cause: `asked by ${data}` });
  }
}

const subject = 'ada.lovelace@example.org';

describe('the lines of the log', () => {
  it('shows subject, address and e-mail as the options say, and never a token', async () => {
    const { log, url, app } = await startApp({
      gateways: [QuotingGateway],
      options: { privacy: { subject: 'pseudonym', email: 'masked', address: 'masked', key: 'k'.repeat(32) } },
    });
    const jwt = token({ sub: subject });
    const client = await Client.connect(`${url}/ws`, { token: jwt });
    const { data } = await client.ask({ event: 'fault', data: `${subject} ${jwt}`, id: 1 });
    expect(data).toMatchObject({ code: 'INTERNAL', incidentId: log.lines[0]?.incidentId });
    await client.ask({ event: 'refusal', data: subject, id: 2 });
    await client.close();
    await until(() => log.lines.length === 3);
    const [fault, refused, close] = log.lines;
    expect(fault?.stack).toContain('Error: cannot take a***@example.org [token]\n    at ');
    expect(refused).toMatchObject({ message: 'closed to a***@example.org', reason: 'asked by a***@example.org' });
    expect(close).toMatchObject({ code: 'CLOSED', clientAddress: '127.0.0.0/24' });
    const subjects = new Set(log.lines.map((line) => line.subject));
    expect(subjects.size).toBe(1);
    expect([...subjects][0]).toMatch(/^log\.[\w-]{22}$/);
    for (const secret of [subject, jwt, '127.0.0.1']) expect(JSON.stringify(log.lines)).not.toContain(secret);
    expect(app.get(Fingerprints).matches('subject', subject, [...subjects][0] as string)).toBe(false);
  });

  it('makes pseudonyms with the keys of fingerprints when there is none for the purpose', async () => {
    const keys = `one:${Buffer.alloc(32, 1).toString('base64url')}`;
    const { log, url, app } = await startApp({
      options: { fingerprints: { keys }, privacy: { subject: 'pseudonym' } },
    });
    const client = await Client.connect(`${url}/ws`, { token: token({ sub: subject }) });
    await client.ask('nonsense');
    const pseudonym = log.lines[0]?.subject ?? '';
    expect(app.get(Fingerprints).of('subject', subject)).toBe(pseudonym);
  });

  it('at capacity are as few as the address has handshakes and samples, since its rate is asked first', async () => {
    const { log, url } = await startApp({
      options: {
        firewall: { maxConnections: 1, handshakesPerSecondPerAddress: 1, handshakeBurstPerAddress: 30 },
      },
    });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const codes: string[] = [];
    for (let n = 0; n < 200; n++) {
      // One after the other, as one peer does
      const { status } = await refusal(`${url}/ws`);
      codes.push(String(status));
    }
    expect(codes.filter((status) => status === '503')).toHaveLength(29);
    expect(codes.filter((status) => status === '429')).toHaveLength(171);
    expect(log.lines.filter(({ code }) => code === 'OVERLOADED')).toHaveLength(20);
    expect(log.lines.filter(({ code }) => code === 'TOO_MANY_CONNECTIONS')).toHaveLength(20);
    await client.close();
  });

  it('of a handler with a bug are sampled, stacks more so, and each answer has its incidentId', async () => {
    const { log, url } = await startApp({ gateways: [QuotingGateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const incidents = new Set<unknown>();
    for (let n = 0; n < 200; n++) {
      // One after the other
      const { data } = await client.ask({ event: 'fault', data: 'x', id: n });
      incidents.add((data as { incidentId: string }).incidentId);
    }
    expect(incidents.size).toBe(200);
    expect(log.lines).toHaveLength(20);
    expect(log.lines.filter(({ stack }) => stack !== undefined)).toHaveLength(10);
  });
});
