import { NOT_OPENED } from '../data-protection/ws-seal.js';
import type { SealBinding, WsSeal } from '../data-protection/ws-seal.js';
import { GatewayError } from '../protocol/errors.js';
import type { ErrorDetail } from '../protocol/errors.js';
import { isJsonObject } from '../protocol/message.js';
import { hasRules, join, rulesOf } from './dto-rules.js';
import { markOpened, sealedPropertiesOf } from './sealed.decorator.js';
import { transformerMetadata } from './transformer-metadata.js';
import type { TypeMetadata } from './transformer-metadata.js';

/** Most sealed values opened in one message: each costs a decryption. */
export const MAX_SEALED_VALUES = 100;

/** After so many that did not open no further one is tried: a client without a key must not make the server decrypt for free. */
const MAX_FAILURES = 10;

/** A payload with all its sealed values opened. */
export type OpenFields = (payload: unknown, binding: SealBinding, path: string) => Promise<unknown>;

/** A property that is sealed, or that holds objects with sealed ones. */
interface Field {
  readonly property: string;
  /** What it may be called in a payload. */
  readonly keys: readonly string[];
  readonly isSealed: boolean;
  /** The fields of an object in it. A class may hold itself, so they are looked up when there is one. */
  readonly fieldsOf: ((value: object) => readonly Field[]) | undefined;
}

/**
 * What opens the sealed values of a class; undefined for a class that has none, at any depth.
 *
 * @throws Error naming the property, when there are no keys to open it with
 */
export function fieldOpener(dto: new () => object, seal: WsSeal | undefined): OpenFields | undefined {
  const sealed = firstSealed(dto);
  if (sealed === undefined) return undefined;
  if (seal === undefined || !seal.isReady) throw new Error(`${sealed} is @Sealed(), so sealing.keys must be set`);
  return async (payload, binding, path) => {
    const opening = new MessageOpening(seal, binding);
    const result = await opening.objects(payload, () => fieldsOf(dto), path);
    if (opening.failures.length === 0) return result;
    throw new GatewayError('VALIDATION_FAILED', { details: opening.failures, cause: opening.reason });
  };
}

/** The sealed values of one message. They are opened one after the other, so that no message has the threads to itself. */
class MessageOpening {
  readonly failures: ErrorDetail[] = [];
  /** Why the first of them did not open, for the log. */
  reason: string | undefined;
  #count = 0;

  constructor(
    private readonly seal: WsSeal,
    private readonly binding: SealBinding,
  ) {}

  /** An object, or an array of them, as a copy with opened values: the frame stays as it came. */
  async objects(value: unknown, fields: NonNullable<Field['fieldsOf']>, path: string): Promise<unknown> {
    if (Array.isArray(value)) {
      const items: unknown[] = [];
      for (const [index, item] of value.entries()) items.push(await this.objects(item, fields, join(path, `${index}`)));
      return items;
    }
    if (!isJsonObject(value)) return value; // validation refuses what it may not be
    const copy = { ...value };
    for (const field of fields(value)) {
      for (const key of field.keys) {
        const given = Object.hasOwn(copy, key) ? copy[key] : undefined;
        if (given === undefined || given === null) continue;
        copy[key] = await this.#field(given, field, copy, join(path, field.property));
      }
    }
    return copy;
  }

  async #field(given: unknown, { isSealed, property, fieldsOf: fields }: Field, holder: object, path: string) {
    if (!isSealed) return fields === undefined ? given : this.objects(given, fields, path);
    if (this.failures.length === MAX_FAILURES) return undefined;
    const opening =
      ++this.#count > MAX_SEALED_VALUES
        ? ({ ok: false, reason: `more than ${MAX_SEALED_VALUES} sealed fields` } as const)
        : await this.seal.tryOpen(given, this.binding);
    if (!opening.ok) {
      this.reason ??= opening.reason;
      this.failures.push({ path, ...NOT_OPENED });
      return undefined;
    }
    markOpened(holder, property);
    return fields === undefined ? opening.value : this.objects(opening.value, fields, path);
  }
}

const fieldsOfClass = new WeakMap<object, readonly Field[]>();

function fieldsOf(dto: object): readonly Field[] {
  let fields = fieldsOfClass.get(dto);
  if (fields === undefined) fieldsOfClass.set(dto, (fields = readFields(dto)));
  return fields;
}

function readFields(dto: object): Field[] {
  const sealed = sealedPropertiesOf(dto);
  const names = new Map<string, string[]>();
  for (const { propertyName, options } of transformerMetadata()?.getExposedMetadatas(dto) ?? []) {
    if (options?.name !== undefined) names.set(propertyName, [...(names.get(propertyName) ?? []), options.name]);
  }
  return [...rulesOf(dto).properties]
    .map((property): Field => {
      const classes = classesOf(dto, property);
      const holdsSealed = classes.some((held) => firstSealed(held.dto) !== undefined);
      const fieldsFor = (value: object): readonly Field[] => {
        const held = classes.find(({ fits }) => fits(value));
        return held === undefined ? [] : fieldsOf(held.dto);
      };
      return {
        property,
        keys: [property, ...(names.get(property) ?? [])],
        isSealed: sealed.has(property),
        fieldsOf: holdsSealed ? fieldsFor : undefined,
      };
    })
    .filter((field) => field.isSealed || field.fieldsOf !== undefined);
}

/** A class that a property may hold; with a discriminator, the one that `fits` says so of. */
interface HeldClass {
  readonly dto: new () => object;
  readonly fits: (value: object) => boolean;
}

interface Discriminator {
  readonly property: string;
  readonly subTypes: readonly { readonly name: string; readonly value: unknown }[];
}

function classesOf(dto: object, property: string): HeldClass[] {
  const type = transformerMetadata()?.findTypeMetadata(dto, property);
  const discriminator = type?.options?.discriminator as Discriminator | undefined; // because class-transformer declares it so
  const subTypes = discriminator?.subTypes.map(({ name, value }) => ({
    type: value,
    fits: (object: object) => object[discriminator.property as never] === name,
  }));
  return [...(subTypes ?? []), { type: typeIn(type, property), fits: () => true }]
    .filter((held): held is { type: new () => object; fits: HeldClass['fits'] } => hasRules(held.type))
    .map(({ type: held, fits }) => ({ dto: held, fits }));
}

function typeIn(type: TypeMetadata | undefined, property: string): unknown {
  try {
    return type?.typeFunction?.({ newObject: {}, object: {}, property });
  } catch {
    return undefined; // it goes by the payload: what is sealed in its class stays unopened, and so is refused
  }
}

/** The first sealed property at any depth, as `Class.property`. */
function firstSealed(dto: new () => object, seen = new Set<object>()): string | undefined {
  if (seen.has(dto)) return undefined;
  seen.add(dto);
  for (const property of sealedPropertiesOf(dto)) return `${dto.name}.${property}`;
  for (const property of rulesOf(dto).properties) {
    for (const { dto: held } of classesOf(dto, property)) {
      const found = firstSealed(held, seen);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}
