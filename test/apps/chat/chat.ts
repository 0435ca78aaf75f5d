import { Module } from '@nestjs/common';
import { WsGatewayModule } from 'nestjs-ws-gateway';
import type { ChannelRuleOptions } from 'nestjs-ws-gateway';

export const RULES: ChannelRuleOptions[] = [
  {
    pattern: 'room.*',
    subscribe: true,
    publish: true,
    presence: 'events',
    publishesPerSecond: 5,
    history: { count: 200, ageMs: 600_000 },
  },
];

@Module({
  imports: [
    WsGatewayModule.forRoot({
      auth: { jwt: { secret: process.env.JWT_SECRET ?? '' } },
      channels: { rules: RULES },
    }),
  ],
})
export class ChatModule {}
