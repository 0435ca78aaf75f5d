import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import { applyDecorators, Injectable, Module, NotFoundException } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsIn, IsInt, IsObject, IsOptional, IsString, MaxLength, Min } from 'class-validator';
import { filter, firstValueFrom, Subject, timeout } from 'rxjs';
import { arrays, Authenticator, CurrentSession, GatewayError, PathParam, secretsEqual } from 'nestjs-ws-gateway';
import { UseConnectionGuards, UseProtocol, userAndPassword, WsGatewayModule, WsSessions } from 'nestjs-ws-gateway';
import type { ConnectionAttempt, PrincipalInit, WsSession } from 'nestjs-ws-gateway';

const Text = (length: number): PropertyDecorator => applyDecorators(IsString(), MaxLength(length));
const Maybe = (length: number): PropertyDecorator => applyDecorators(IsOptional(), Text(length));

class BootDto {
  @Text(20) chargePointVendor!: string;
  @Text(20) chargePointModel!: string;
  @Maybe(25) chargePointSerialNumber?: string;
  @Maybe(50) firmwareVersion?: string;
}

class StatusDto {
  @IsInt() @Min(0) connectorId!: number;
  @Text(50) errorCode!: string;
  @IsIn(['Available', 'Preparing', 'Charging', 'Finishing', 'Unavailable', 'Faulted']) status!: string;
}

/** With what is known of a station beside it. */
type Station = WsSession<Partial<BootDto & StatusDto>>;

class ResultDto {
  @Text(36) id!: string;
  @IsObject() payload!: object;
}

class ErrorDto {
  @Text(36) id!: string;
  @Text(50) code!: string;
  @Maybe(255) description?: string;
  @IsOptional() @IsObject() details?: object;
}

/** The stations that are connected, for the rest of the application. */
@Injectable()
export class Stations {
  readonly answers = new Subject<{ station: string; answer: ResultDto | ErrorDto }>();

  constructor(private readonly sessions: WsSessions) {}

  /** @throws GatewayError where the station refuses, NotFoundException where it is not there, TimeoutError after 30 seconds */
  async call(station: string, action: string, payload: object): Promise<object> {
    const [session] = this.sessions.find({ subject: station });
    if (session === undefined) throw new NotFoundException(`${station} is not connected`);
    const id = randomUUID();
    const itsAnswer = this.answers.pipe(filter((one) => one.station === station && one.answer.id === id));
    session.socket.send(JSON.stringify([2, id, action, payload]));
    const { answer } = await firstValueFrom(itsAnswer.pipe(timeout(30_000)));
    if ('payload' in answer) return answer.payload;
    throw new GatewayError('STATION_REFUSED', { message: `${answer.code}: ${answer.description}` });
  }
}

const { STATION_KEY: key = randomBytes(32) } = process.env; // without one, no station knows its password
/** Yours would be drawn at random, and a database would have its hash. */
export const passwordOf = (station: string) => createHmac('sha256', key).update(station).digest('base64url');

class StationAuthenticator extends Authenticator {
  override readonly kinds = ['basic'] as const;
  override authenticate(credential: string): PrincipalInit {
    const { user, password } = userAndPassword(credential);
    if (!secretsEqual(password, passwordOf(user))) throw new GatewayError('TOKEN_INVALID');
    return { subject: user, expiresAt: Date.now() + 86_400_000 }; // then it connects again
  }
}

/** A station speaks for itself alone, and in the version that this system has. */
const isItself = {
  canConnect: ({ principal, params: { version, station } }: ConnectionAttempt) =>
    version === '1.6' && principal?.subject === station,
};

@UseConnectionGuards(isItself)
@UseProtocol(arrays({ like: 'ocpp', subprotocols: ['ocpp1.6'] }))
@WebSocketGateway({ path: '/ocpp/:version/:station' })
export class CentralSystem {
  constructor(private readonly stations: Stations) {}

  @SubscribeMessage('BootNotification')
  boot(@MessageBody() boot: BootDto, @CurrentSession() { state }: Station) {
    Object.assign(state, boot);
    return { status: 'Accepted', currentTime: new Date().toISOString(), interval: 300 };
  }

  @SubscribeMessage('Heartbeat')
  heartbeat() {
    return { currentTime: new Date().toISOString() };
  }

  @SubscribeMessage('StatusNotification')
  status(@MessageBody() status: StatusDto, @CurrentSession() { state }: Station): void {
    Object.assign(state, status);
  }

  @SubscribeMessage('CallResult')
  result(@MessageBody() answer: ResultDto, @PathParam('station') station: string): void {
    this.stations.answers.next({ station, answer });
  }

  @SubscribeMessage('CallError')
  error(@MessageBody() answer: ErrorDto, @PathParam('station') station: string): void {
    this.stations.answers.next({ station, answer });
  }
}

@Module({
  imports: [WsGatewayModule.forRoot({ auth: { sources: ['basic'], maxSessionsPerSubject: 1 } })],
  providers: [Stations, CentralSystem, { provide: Authenticator, useClass: StationAuthenticator }],
})
export class OcppModule {}
