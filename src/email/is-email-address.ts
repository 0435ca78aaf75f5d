import { Transform } from 'class-transformer';
import { buildMessage, ValidateBy } from 'class-validator';
import type { ValidationOptions } from 'class-validator';
import { fitsSmtp, MAX_ADDRESS_OCTETS, normalForm, tidy } from './address.js';

/**
 * An e-mail address, normalised: see `normaliseEmail()` for what is accepted and what the instance holds. Refused with the
 * rules `isEmail` and, over 254 octets, `maxLength`. With `each`, a list of them.
 */
export function IsEmailAddress(options?: ValidationOptions): PropertyDecorator {
  const decorators = [
    Transform(({ value }: { value: unknown }) => tidied(value)),
    // The name and the words of class-validator's own rule: clients know it by them.
    ValidateBy(
      {
        name: 'isEmail',
        validator: {
          validate: (value: unknown) => typeof value === 'string' && normalForm(value) !== undefined,
          defaultMessage: buildMessage((each) => `${each}$property must be an email`, options),
        },
      },
      options,
    ),
    ValidateBy(
      {
        name: 'maxLength',
        constraints: [MAX_ADDRESS_OCTETS],
        validator: {
          validate: (value: unknown) => typeof value === 'string' && fitsSmtp(value),
          defaultMessage: buildMessage(
            (each) => `${each}$property must be shorter than or equal to $constraint1 octets`,
            options,
          ),
        },
      },
      options,
    ),
  ];
  return (target, property) => {
    for (const decorate of decorators) decorate(target, property as string); // because class-validator types it so
  };
}

function tidied(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item: unknown) => (typeof item === 'string' ? tidy(item) : item));
  return typeof value === 'string' ? tidy(value) : value;
}
