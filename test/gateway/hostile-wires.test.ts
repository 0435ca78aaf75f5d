import { Module } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsString } from 'class-validator';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { jsonRpc, parsed, Public, UseProtocol, WsGatewayModule } from '../../src/index.js';
import { textFrame } from '../support/frames.js';
import { objects } from '../support/hostile-messages.js';
import { Miniature, withstands } from '../support/miniature.js';
import { RawClient } from '../support/raw-client.js';

class NoteDto {
  @IsString() text!: string;
}

class Notes {
  @SubscribeMessage('note') note(@MessageBody() { text }: NoteDto): string {
    return text;
  }
}

@Public()
@WebSocketGateway({ path: '/envelope' })
class Envelope extends Notes {}

@Public()
@UseProtocol(jsonRpc())
@WebSocketGateway({ path: '/rpc' })
class JsonRpc extends Notes {}

@Public()
@UseProtocol(parsed((message) => JSON.parse(message.toString()) as { event: string }))
@WebSocketGateway({ path: '/parsed' })
class Parsed extends Notes {}

@Module({
  imports: [WsGatewayModule.forRoot({ auth: { anonymous: true, sources: [] } })],
  providers: [Envelope, JsonRpc, Parsed],
})
class WiresModule {}

let wires: Miniature;
beforeAll(async () => void (wires = await Miniature.start(WiresModule)));
afterAll(() => wires.stop());

const rpc = (text: string): string => JSON.stringify({ jsonrpc: '2.0', method: 'note', params: { text }, id: 1 });
const envelope = (text: string): string => JSON.stringify({ event: 'note', data: { text }, id: 1 });

describe.each([
  ['the envelope', '/envelope', envelope, 'event', 'data', /^a payload of half characters$/],
  [
    'a parser of the application',
    '/parsed',
    envelope,
    'event',
    'data',
    // It reads bytes, too, and nothing to do is what it makes of null.
    /^(a payload of half characters|null|a text in a binary message)$/,
  ],
  ['JSON-RPC', '/rpc', rpc, 'method', 'params', /^$/],
])('%s', (_, path, write, event, data, harmless) => {
  let client: RawClient;
  beforeAll(async () => void (client = await RawClient.connect(`${wires.url}${path}`)));
  afterAll(() => client.close());

  const answers = (text: string) => expect.objectContaining({ [path === '/rpc' ? 'result' : 'data']: text }) as unknown;
  withstands({
    miniature: () => wires,
    attacker: () => ({ path }),
    hostile: objects(event, data, 'note'),
    probe: textFrame(write('probe')),
    isServed: (message) => /"(data|result)":"probe"/.test(message.toString()),
    harmless,
    isRefusal: (message) => /"exception"|"error"/.test(message.toString()),
    witness: async () => expect(await client.ask(write('hello'))).toEqual(answers('hello')),
  });
});
