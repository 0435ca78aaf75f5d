import { getMetadataStorage, IsEmail, MaxLength } from 'class-validator';
import type { ValidationArguments, ValidatorConstraintInterface } from 'class-validator';

/** What is read of a rule. */
interface Rule {
  readonly name?: string;
  readonly constraints?: unknown[];
  readonly each: boolean;
}

/**
 * For some rules of class-validator a test that is cheaper than its predicate, and sure: what it accepts, the predicate
 * accepts. What it does not accept is the predicate's to decide.
 */
export function acceptsForSure(
  rule: Rule,
  instance: ValidatorConstraintInterface,
): ((value: unknown) => boolean) | undefined {
  if (rule.each || !isOfClassValidator(rule, instance)) return undefined;
  if (rule.name === 'isEmail') return isPlainEmail;
  const [max] = rule.constraints as [number];
  // A string has at least as many UTF-16 units as the predicate counts characters in it.
  return (value) => typeof value === 'string' && value.length <= max;
}

/**
 * The addresses that nearly everybody has: letters, digits and single dots, underscores or hyphens between them, and a
 * domain of plain labels. `isEmail` accepts each of them; a test compares the two.
 */
const PLAIN_EMAIL = /^[a-z0-9]+(?:[._-][a-z0-9]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,24}$/i;

export function isPlainEmail(value: unknown): boolean {
  // 63 characters in all keep every label and the local part within their limits.
  return typeof value === 'string' && value.length <= 63 && PLAIN_EMAIL.test(value);
}

/**
 * Is this the rule that class-validator's own decorator made, with options that do not change it? An application may have
 * a rule of the same name: it would have to have the same message and the same verdicts, too, to be taken for this one.
 */
function isOfClassValidator({ name, constraints = [] }: Rule, instance: ValidatorConstraintInterface): boolean {
  const known =
    name === 'isEmail'
      ? { original: emailRule(), fits: constraints[0] === undefined, probes: EMAIL_PROBES }
      : name === 'maxLength'
        ? { original: maxLengthRule(), fits: Number.isInteger(constraints[0]), probes: LENGTH_PROBES }
        : undefined;
  if (known === undefined || !known.fits) return false;
  const args = { property: 'p', object: {}, targetName: 'P', value: '', constraints } as ValidationArguments;
  const { original, probes } = known;
  return (
    instance.defaultMessage?.(args) === original.defaultMessage?.(args) &&
    probes.every((probe) => instance.validate(probe, args) === original.validate(probe, args))
  );
}

const EMAIL_PROBES = [
  'a@example.com',
  'a.b-c_d@ex-ample.co.uk',
  '"a b"@example.com',
  'ä@example.com',
  'a@localhost',
  'a+b@x.io',
  '',
  1,
  null,
];
const LENGTH_PROBES = ['', 'a', 'a'.repeat(100_000), 1, null, []];

class Originals {
  @IsEmail() isEmail!: string;
  @MaxLength(1) maxLength!: string;
}

function ruleOf(name: keyof Originals): ValidatorConstraintInterface {
  const storage = getMetadataStorage();
  const rules = storage.getTargetValidationMetadatas(Originals, '', false, false);
  const { constraintCls } = rules.find(({ propertyName }) => propertyName === name) as (typeof rules)[number]; // because Originals has it
  const [constraint] = storage.getTargetValidatorConstraints(constraintCls);
  return (constraint as NonNullable<typeof constraint>).instance;
}

const emailRule = (): ValidatorConstraintInterface => ruleOf('isEmail');
const maxLengthRule = (): ValidatorConstraintInterface => ruleOf('maxLength');
