import { Global, Injectable, Module } from '@nestjs/common';
import { AuditFile, AuditSink, OnWsEvent } from 'nestjs-ws-gateway';
import type { BanEvent } from 'nestjs-ws-gateway';

@Injectable()
export class Alarm {
  readonly rung: string[] = [];

  @OnWsEvent('ban')
  onBan({ action, target }: BanEvent): void {
    if (action === 'added') this.rung.push(JSON.stringify(target)); // yours would page an operator
  }
}

@Global()
@Module({
  providers: [
    {
      provide: AuditSink,
      useFactory: () => AuditFile.open({ path: process.env.AUDIT_PATH ?? 'audit.log', key: process.env.AUDIT_KEY }),
    },
  ],
  exports: [AuditSink],
})
export class AuditModule {}
