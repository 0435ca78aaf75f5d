// npm run bench:validate: the compiled validator beside Nest's ValidationPipe, on one DTO, in one process, in turns.
import 'reflect-metadata';
import { ValidationPipe } from '@nestjs/common';
import { IsEmail, IsString, MaxLength } from 'class-validator';
import { dtoValidator } from '../../dist/index.js';

class EchoDto {}
IsEmail()(EchoDto.prototype, 'email');
IsString()(EchoDto.prototype, 'text');
MaxLength(16_384)(EchoDto.prototype, 'text');

const payload = () => ({ email: 'user@example.com', text: 'the quick brown fox jumps over the lazy dog' });
const pipe = new ValidationPipe({ whitelist: true, forbidNonWhitelisted: true, transform: true });
const validator = dtoValidator(EchoDto);
const cases = {
  ValidationPipe: () => pipe.transform(payload(), { type: 'body', metatype: EchoDto }),
  dtoValidator: () => validator.validate(payload()),
};

const best = Object.fromEntries(Object.keys(cases).map((name) => [name, Infinity]));
for (let round = 0; round < 7; round++) {
  for (const [name, run] of Object.entries(cases)) {
    const count = name === 'dtoValidator' ? 400_000 : 40_000;
    const start = process.hrtime.bigint();
    for (let i = 0; i < count; i++) await run();
    best[name] = Math.min(best[name], Number(process.hrtime.bigint() - start) / count / 1000);
  }
}
const ratio = best.ValidationPipe / best.dtoValidator;
console.table({
  ValidationPipe: { 'µs a payload': Number(best.ValidationPipe.toFixed(2)), times: 1 },
  dtoValidator: { 'µs a payload': Number(best.dtoValidator.toFixed(2)), times: Number(ratio.toFixed(1)) },
});
