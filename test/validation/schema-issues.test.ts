import { type } from 'arktype';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { detailsOfIssues } from '../../src/validation/schema-issues.js';
import type { ErrorDetail } from '../../src/protocol/errors.js';

type Schema = z.ZodType | v.GenericSchema | { '~standard': z.ZodType['~standard'] };

async function detailsOf(schema: Schema, value: unknown): Promise<ErrorDetail[]> {
  const { issues } = await schema['~standard'].validate(value);
  return detailsOfIssues(issues ?? [], value, schema, '', 50);
}

const zod = z.strictObject({ name: z.string(), user: z.strictObject({ email: z.email() }).optional() });
const valibot = v.strictObject({
  name: v.string(),
  user: v.optional(v.strictObject({ email: v.pipe(v.string(), v.email()) })),
});
const arktype = type({ '+': 'reject', name: 'string', 'user?': { '+': 'reject', email: 'string.email' } });

describe.each([
  ['zod', zod],
  ['valibot', valibot],
  ['arktype', arktype],
])('a payload that a schema of %s refuses', (_, schema) => {
  it.each([
    { name: 'ok', bankaccount: 1 },
    { name: 'ok', user: { email: 'a@example.com', bankaccount: 1 } },
    { name: 'ok', bankaccount: { bankaccount: ['bankaccount'] } },
    { name: 'ok', user: { email: 'bankaccount' } },
    { name: 'ok', z9: 1 },
    { name: 'ok', 'z9 with spaces': 1 },
    { name: 'ok', Bankaccount: 1, 'bank-account': 2 },
  ])('gets nothing of its own back: %o', async (payload) => {
    const details = await detailsOf(schema, payload);
    expect(details.length).toBeGreaterThan(0);
    expect(JSON.stringify(details)).not.toMatch(/bank-?account|z9/i);
  });

  it('is told what is wrong with a declared property', async () => {
    const [detail, ...rest] = await detailsOf(schema, { name: 7 });
    expect(rest).toEqual([]);
    expect(detail?.path).toBe('name');
    expect(detail?.message).toMatch(/string/);
  });
});

it('makes no more details than are sent, and looks at the words of those alone', () => {
  let read = 0;
  const issue = (path: (string | number)[]): { message: string; path: (string | number)[] } => ({
    path,
    get message() {
      read++;
      return 'must be text';
    },
  });
  const schema = z.object({ tags: z.array(z.string()) });
  const value = { tags: Array.from({ length: 20_000 }, () => 1) };
  const many = Array.from({ length: 20_000 }, (_, i) => issue(['tags', i]));
  expect(detailsOfIssues(many, value, schema, '', 50)).toHaveLength(50);
  expect(read).toBe(50);
  read = 0;
  const alike = Array.from({ length: 20_000 }, () => issue(['nowhere']));
  expect(detailsOfIssues(alike, value, schema, '', 50)).toHaveLength(1);
  expect(read).toBe(1);
});
