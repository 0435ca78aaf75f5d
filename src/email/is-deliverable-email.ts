import { buildMessage, registerDecorator } from 'class-validator';
import type { ValidationOptions } from 'class-validator';
import { normaliseEmail } from './address.js';
import { askForDelivery, emailContext } from './context.js';
import { IsEmailAddress } from './is-email-address.js';

export interface DeliverableEmailOptions extends ValidationOptions {
  /** True refuses also what is `unknown`. @default the option `email.refuseUnknown` */
  refuseUnknown?: boolean;
}

/**
 * {@link IsEmailAddress}, and mail for it has somewhere to go: what `WsEmail.check()` finds `undeliverable` is refused with
 * the rule `isDeliverableEmail`. Classes with it are validated by class-validator itself, not compiled.
 *
 * Where no `WsEmail` is at hand, outside of the module's pipe and of `WsEmail.run()`, validation rejects with an Error.
 */
export function IsDeliverableEmail(options: DeliverableEmailOptions = {}): PropertyDecorator {
  const { refuseUnknown, ...rest } = options;
  askForDelivery();
  const isAddress = IsEmailAddress(rest);
  return (target, property) => {
    isAddress(target, property);
    // ValidateBy() would lose `async`, and the class would be compiled with a rule that has to be waited for.
    registerDecorator({
      name: 'isDeliverableEmail',
      async: true,
      target: target.constructor,
      propertyName: property as string, // because class-validator types it so
      options: rest,
      validator: {
        validate: (value: unknown) => isDelivered(value, refuseUnknown),
        defaultMessage: buildMessage((each) => `${each}$property must be an address that takes mail`, rest),
      },
    });
  };
}

/** Other rules refuse what is no address; no server is asked about it. */
async function isDelivered(value: unknown, refuseUnknown: boolean | undefined): Promise<boolean> {
  if (typeof value !== 'string' || normaliseEmail(value) === undefined) return true;
  const context = emailContext.getStore();
  if (context === undefined) {
    throw new Error('@IsDeliverableEmail() needs WsGatewayModule, or WsEmail.run() around the validation');
  }
  const { email, session } = context;
  const { verdict } = await email.check(value, session);
  if (verdict === 'unknown') return !(refuseUnknown ?? email.refusesUnknown);
  return verdict === 'deliverable';
}
