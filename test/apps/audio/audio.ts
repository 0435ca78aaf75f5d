import { Module } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsBase64, IsIn, IsString, Length, MaxLength } from 'class-validator';
import { CurrentSession, GatewayError, Roles, SubscribeBinary, UseProtocol, WsProtocol } from 'nestjs-ws-gateway';
import { readJson, WsGatewayModule } from 'nestjs-ws-gateway';
import type { Decoded, DisconnectData, ExceptionData, ProtocolOptions, Reply, WsSession } from 'nestjs-ws-gateway';

/** 16,000 samples of 16 bits a second; one message has those of 20 ms. */
const BYTES_PER_SECOND = 32_000;
const PACKET_BYTES = 640;

class StartDto {
  @IsString() @Length(1, 64) stream!: string;
  @IsIn([16_000]) sampleRate!: number;
}

class MediaDto {
  @IsBase64() @MaxLength(4_096) payload!: string;
}

class KeyDto {
  @IsIn([...'0123456789*#']) digit!: string;
}

/** What the caller has said first, in ten seconds at most. */
class Recording {
  readonly #samples = Buffer.alloc(10 * BYTES_PER_SECOND);
  end = 0; // in bytes

  constructor(readonly stream: string) {}

  add(part: Buffer): void {
    this.end += part.copy(this.#samples, this.end);
  }

  *packets(): Iterable<Buffer> {
    for (let i = 0; i < this.end; i += PACKET_BYTES)
      yield this.#samples.subarray(i, Math.min(i + PACKET_BYTES, this.end));
  }
}

type Call = WsSession<{ recording?: Recording | undefined }>;

/** The events of the service have what they carry beside the event: `{ event: 'start', stream, sampleRate }`. */
export class MediaStreams extends WsProtocol {
  decode(message: string | Buffer, _isBinary: boolean, _session: WsSession, options: ProtocolOptions): Decoded {
    const { event, ...data } = readJson(message, options) as { event: string };
    return { event, data };
  }
  reply({ event, data }: Reply): string | undefined {
    return data === undefined ? undefined : this.push(event, data);
  }
  push(event: string, data: unknown): string {
    return JSON.stringify({ event, ...(data as object) }); // because all that is sent here is an object
  }
  exception({ code, message }: ExceptionData): string {
    return this.push('error', { code, message });
  }
  disconnect({ code, message }: DisconnectData): string {
    return this.push('closing', { code, message });
  }
}

/** The caller hears an echo, and by the key 1 all of it again. */
@Roles('call')
@UseProtocol(MediaStreams)
@WebSocketGateway({ path: '/audio' })
export class AudioGateway {
  @SubscribeMessage('start')
  start(@MessageBody() { stream }: StartDto, @CurrentSession() { state }: Call) {
    if (state.recording !== undefined) throw new GatewayError('CONFLICT', { message: 'The stream has started' });
    state.recording = new Recording(stream);
    return { event: 'started', data: { stream } };
  }

  /** A service that has no binary messages sends its samples as text. */
  @SubscribeMessage('media')
  media(@MessageBody() { payload }: MediaDto, @CurrentSession() session: Call) {
    return { payload: this.samples(Buffer.from(payload, 'base64'), session).toString('base64') };
  }

  @SubscribeBinary('samples')
  samples(@MessageBody() part: Buffer, @CurrentSession() session: Call): Buffer {
    if (part.length % 2 !== 0) throw new GatewayError('VALIDATION_FAILED', { message: 'A sample has two bytes' });
    recordingOf(session).add(part);
    for (let i = 0; i < part.length; i += 2) part.writeInt16LE(part.readInt16LE(i) >> 1, i); // it is the handler's own
    return part;
  }

  @SubscribeMessage('key')
  key(@MessageBody() { digit }: KeyDto, @CurrentSession() session: Call): void {
    if (digit === '1') for (const packet of recordingOf(session).packets()) session.sendBinary(packet);
  }

  @SubscribeMessage('stop')
  stop(@CurrentSession() session: Call) {
    const { stream, end } = recordingOf(session);
    session.state.recording = undefined;
    return { event: 'stopped', data: { stream, seconds: end / BYTES_PER_SECOND } };
  }
}

function recordingOf({ state }: Call): Recording {
  if (state.recording === undefined) throw new GatewayError('CONFLICT', { message: 'The stream has not started' });
  return state.recording;
}

@Module({
  imports: [
    WsGatewayModule.forRoot({
      auth: { jwt: { secret: process.env.JWT_SECRET ?? '' }, sources: ['header'] }, // a token for each call
      limits: { messagesPerSecond: 100, messageBurst: 200 }, // 50 of them are audio
    }),
  ],
  providers: [AudioGateway],
})
export class AudioModule {}
