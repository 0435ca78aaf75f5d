import type { ClassConstructor } from 'class-transformer';
import { ValidationTypes, getMetadataStorage } from 'class-validator';
import type { ValidationError } from 'class-validator';
import { isJsonObject } from '../protocol/message.js';
import { acceptOf, isCollection, REFUSED, takeVerdicts, Uncompilable } from './dto-compiler.js';
import type { Accept } from './dto-compiler.js';
import { rulesOf } from './dto-rules.js';
import { PLAIN_TO_CLASS, transformerMetadata } from './transformer-metadata.js';
import type { TransformerMetadata } from './transformer-metadata.js';

/**
 * class-validator takes about 10 µs for an object that the compiled path refuses in 0.1 µs. So that a refusal costs what its
 * details are worth, it is shown only a part of a large payload: of the items of an array some that are refused, and of the
 * unknown properties one.
 */

/** Objects, arrays and values up to which a payload is shown as a whole. */
const SMALL = 200;

/** Rules of an array whose verdict does not depend on the items that were left out. */
const RULES_OF_LENGTH: ReadonlySet<string> = new Set([
  'arrayMaxSize',
  'arrayMinSize',
  'arrayNotEmpty',
  'isArray',
  'isDefined',
  'isNotEmpty',
]);

/** A payload of which something was left out. */
export interface PayloadPart {
  readonly plain: object;
  /** Gives arrays their length again, with holes where items were left out, and unconverted values their place. */
  readonly restore: (instance: object) => void;
  /** Removes what was said of an array without having seen all of it. */
  readonly keepSound: (errors: ValidationError[]) => ValidationError[];
}

/**
 * The part of a payload that shows why it is refused.
 *
 * @param isRefused true when the compiled path has refused the payload
 * @param maxItems how many refused items are shown
 * @returns undefined when the payload is small, or nothing in it is known to be refused
 */
export function partOf(
  dto: ClassConstructor<object>,
  payload: object,
  isRefused: boolean,
  maxItems: number,
): PayloadPart | undefined {
  const transformer = transformerMetadata();
  if (transformer === undefined || isSmall(payload)) return undefined;
  const cutter = new Cutter(transformer, maxItems);
  const { plain, restore } = cutter.object(payload, dto);
  if (cutter.waits || (!isRefused && !cutter.hasRefused)) return undefined;
  return { plain: plain as object, restore, keepSound: (errors) => cutter.keepSound(errors) }; // because object() makes one
}

interface Cut {
  readonly plain: unknown;
  readonly restore: (made: object) => void;
}

type Members = Record<string, unknown>;

const AS_IT_IS = (): void => undefined;

class Cutter {
  /** True when something was found that cannot be accepted. */
  hasRefused = false;
  /** True when a rule has to be waited for: the payload is not to be shown to it in parts, and then as a whole. */
  waits = false;
  #itemsLeft: number;
  /** The properties of instances whose array has holes. */
  readonly #holed = new Map<object, Set<string>>();

  constructor(
    private readonly transformer: TransformerMetadata,
    maxItems: number,
  ) {
    this.#itemsLeft = maxItems;
  }

  object(payload: object, dto: ClassConstructor<object>): Cut {
    const { properties } = rulesOf(dto);
    const propertyOf = this.#exposed(dto);
    const plain: Members = {};
    const restores: ((instance: Members) => void)[] = [];
    let hasUnknown = false;
    for (const [key, value] of Object.entries(payload)) {
      const name = propertyOf.get(key) ?? key;
      if (key === '__proto__' || name in dto.prototype) {
        Object.defineProperty(plain, key, { value, enumerable: true, configurable: true, writable: true });
      } else if (properties.has(name)) {
        const cut = this.#member(value, dto, name);
        plain[key] = cut.plain;
        restores.push((instance) => cut.restore(instance));
      } else if (!hasUnknown) {
        hasUnknown = this.hasRefused = true;
        plain[key] = null; // one shows that it is refused, whatever its value
      }
    }
    return { plain, restore: (instance) => restores.forEach((restore) => restore(instance as Members)) }; // because it is read by name
  }

  /** Payload keys that `@Expose({ name })` gives to a property. */
  #exposed(dto: ClassConstructor<object>): Map<string, string> {
    const names = new Map<string, string>();
    for (const { propertyName, options } of this.transformer.getExposedMetadatas(dto)) {
      if (options?.name !== undefined) names.set(options.name, propertyName);
    }
    return names;
  }

  /** One declared property. Its restore() is given the instance that holds it. */
  #member(value: unknown, dto: ClassConstructor<object>, name: string): Cut {
    const whole = { plain: value, restore: AS_IT_IS };
    if (typeof value !== 'object' || value === null) return whole;
    if (this.transformer.findTransformMetadatas(dto, name, PLAIN_TO_CLASS).length > 0) return whole;
    if (isCollection(Reflect.getMetadata('design:type', dto.prototype as object, name))) return whole;
    const type = this.transformer.findTypeMetadata(dto, name);
    if (type === undefined) {
      if (isNested(dto, name)) return whole;
      // class-transformer would copy it, at several µs a member; no rule looks at the copy otherwise than at the original.
      const restore = (instance: object): void => void ((instance as Members)[name] = value); // because it is written by name
      return { plain: Array.isArray(value) ? [] : {}, restore };
    }
    if (type.options?.discriminator !== undefined) return whole;
    const target: unknown = type.typeFunction?.({ newObject: {}, object: {}, property: name });
    const accept = compiledOf(target);
    if (accept === undefined || !isNested(dto, name)) return whole;
    const cut = this.#nested(value, target as ClassConstructor<object>, accept); // because it is compiled
    const restore = (instance: object): void => {
      const made = (instance as Members)[name]; // because it is read by name
      if (typeof made !== 'object' || made === null) return;
      if (Array.isArray(value)) this.#hole(instance, name);
      cut.restore(made);
    };
    return { plain: cut.plain, restore };
  }

  #nested(value: object, target: ClassConstructor<object>, accept: Accept): Cut {
    if (!Array.isArray(value)) return this.object(value, target);
    const kept: { readonly at: number; readonly cut: Cut }[] = [];
    for (const [at, item] of value.entries()) {
      if (this.#itemsLeft <= 0) break;
      if (isJsonObject(item) && this.#accepts(accept, item)) continue;
      this.hasRefused = true;
      this.#itemsLeft--;
      const isObject = typeof item === 'object' && item !== null;
      kept.push({ at, cut: isObject ? this.#nested(item, target, accept) : { plain: item, restore: AS_IT_IS } });
    }
    const restore = (made: object): void => {
      if (!Array.isArray(made) || made.length !== kept.length) return;
      const items: unknown[] = made.splice(0);
      made.length = value.length;
      for (const [i, { at, cut }] of kept.entries()) {
        const item = items[i];
        made[at] = item;
        if (typeof item === 'object' && item !== null) cut.restore(item);
      }
    };
    return { plain: kept.map(({ cut }) => cut.plain), restore };
  }

  /** A rule that throws has not accepted; class-validator will meet it again and report it. */
  #accepts(accept: Accept, item: object): boolean {
    try {
      return accept(item) !== REFUSED;
    } catch {
      return false;
    } finally {
      if (takeVerdicts() !== undefined) this.waits = true;
    }
  }

  #hole(instance: object, name: string): void {
    const names = this.#holed.get(instance);
    if (names === undefined) this.#holed.set(instance, new Set([name]));
    else names.add(name);
  }

  keepSound(errors: ValidationError[]): ValidationError[] {
    for (const error of errors) {
      this.keepSound(error.children ?? []);
      if (error.target === undefined || !this.#holed.get(error.target)?.has(error.property)) continue;
      const sound = Object.entries(error.constraints ?? {}).filter(([rule]) => RULES_OF_LENGTH.has(rule));
      error.constraints = Object.fromEntries(sound);
    }
    return errors;
  }
}

function isNested(dto: ClassConstructor<object>, name: string): boolean {
  return getMetadataStorage()
    .getTargetValidationMetadatas(dto, '', false, false)
    .some(({ propertyName, type }) => propertyName === name && type === ValidationTypes.NESTED_VALIDATION);
}

function compiledOf(target: unknown): Accept | undefined {
  if (typeof target !== 'function' || rulesOf(target).properties.size === 0) return undefined;
  try {
    return acceptOf(target as ClassConstructor<object>); // because class-transformer constructs it
  } catch (error) {
    if (error instanceof Uncompilable) return undefined;
    throw error;
  }
}

/** Counts no further than it has to. */
function isSmall(payload: object): boolean {
  const waiting: object[] = [payload];
  let count = 0;
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const values = Object.values(next) as unknown[];
    count += values.length;
    if (count > SMALL) return false;
    for (const value of values) if (typeof value === 'object' && value !== null) waiting.push(value);
  }
  return true;
}
