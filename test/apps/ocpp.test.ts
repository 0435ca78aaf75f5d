import { once } from 'node:events';
import { OcppClient } from 'ocpp-ts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { refusal } from '../support/client.js';
import { textFrame } from '../support/frames.js';
import { ARRAYS } from '../support/hostile-messages.js';
import { Miniature, withstands } from '../support/miniature.js';
import { OcppModule, passwordOf, Stations } from './ocpp/central-system.js';

vi.hoisted(() => (process.env.STATION_KEY = 'a-key-for-the-passwords-of-stations'));

const basic = (user: string, password = passwordOf(user)): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

let system: Miniature;
beforeAll(async () => void (system = await Miniature.start(OcppModule)));
afterAll(() => system.stop());

async function station(name: string): Promise<OcppClient> {
  const client = new OcppClient(name);
  client.connect(`${system.url}/ocpp/1.6/`, { authorization: basic(name) });
  await once(client, 'connect');
  return client;
}

const boot = { chargePointVendor: 'v', chargePointModel: 'm' };

describe('a central system with two stations on ocpp-ts', () => {
  it('boots them, hears their heartbeats, and resets one of them', async () => {
    const [first, second] = await Promise.all(['CP1', 'CP2'].map(station)) as [OcppClient, OcppClient]; // prettier-ignore
    for (const client of [first, second]) {
      expect(await client.callRequest('BootNotification', boot)).toMatchObject({ status: 'Accepted', interval: 300 });
      expect(await client.callRequest('Heartbeat', {})).toEqual({ currentTime: expect.any(String) as string });
      const status = { connectorId: 1, errorCode: 'NoError', status: 'Available' } as const;
      expect(await client.callRequest('StatusNotification', status)).toEqual({});
    }
    const asked: unknown[] = [];
    first.on('Reset', (request, answer) => {
      asked.push(request);
      answer({ status: 'Accepted' });
    });
    const stations = system.app.get(Stations);
    expect(await stations.call('CP1', 'Reset', { type: 'Soft' })).toEqual({ status: 'Accepted' });
    expect(asked).toEqual([{ type: 'Soft' }]);
    await expect(stations.call('CP2', 'Reset', { type: 'Soft' })).rejects.toThrow('NotImplemented');
    await expect(stations.call('CP3', 'Reset', { type: 'Soft' })).rejects.toThrow('CP3 is not connected');
  });

  it('tells them in the errors of OCPP-J what is wrong with a call', async () => {
    const client = await station('CP4');
    await expect(client.callRequest('BootNotification', { ...boot, chargePointVendor: 'x'.repeat(21) })).rejects.toMatchObject({ code: 'FormationViolation' }); // prettier-ignore
    await expect(client.callRequest('Authorize', { idTag: '1' })).rejects.toMatchObject({ code: 'NotImplemented' });
  });

  it('lets a station speak for itself alone, and a second one of its name take its place', async () => {
    const path = `${system.url}/ocpp/1.6`;
    expect(await refusal(`${path}/CP5`)).toMatchObject({ status: 401, body: { code: 'UNAUTHENTICATED' } });
    for (const [to, authorization, code] of [
      [`${path}/CP5`, basic('CP5', passwordOf('CP6')), 3000],
      [`${path}/CP5`, basic('CP6'), 3003],
      [`${system.url}/ocpp/2.0.1/CP5`, basic('CP5'), 3003],
    ] as const) {
      const client = new OcppClient('');
      client.connect(to, { authorization });
      expect((await once(client, 'close'))[0]).toBe(code);
    }
    const first = await station('CP5');
    const closed = once(first, 'close');
    const second = await station('CP5');
    expect((await closed).map(String)).toEqual(['4409', 'SESSION_REPLACED']);
    expect(await second.callRequest('Heartbeat', {})).toHaveProperty('currentTime');
  });
});

describe('a central system', () => {
  let witness: OcppClient;
  beforeAll(async () => void (witness = await station('WITNESS')));

  withstands({
    miniature: () => system,
    attacker: (n) => ({ path: `/ocpp/1.6/M${n}`, headers: [`Authorization: ${basic(`M${n}`)}`] }),
    hostile: ARRAYS,
    probe: textFrame('[2,"probe","StatusNotification",{"connectorId":0,"errorCode":"NoError","status":"Available"}]'),
    isServed: (message) => message === '[3,"probe",{}]',
    isRefusal: (message) => message.toString().startsWith('[4,'),
    // What is no call, or has no id that could be answered.
    unanswerable: /^(?!.*binary message$|a call of (nothing|every prototype)$|a call with a payload)/,
    witness: () => witness.callRequest('Heartbeat', {}),
  });
});
