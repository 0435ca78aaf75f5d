// After the build: what an option is declared with, its doc comment, bounds and default, for the editors of those who set it.
// Writes dist/ws-gateway.schema.json, the JSON Schema of the configuration file, with the doc comments as descriptions, and adds
// bounds and defaults to the doc comments of the published declarations.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { fileSchema } from '../../dist/service/configuration/file-schema.js';

const dist = new URL('../../dist/', import.meta.url);
const file = fileURLToPath(new URL('ws-gateway.options.d.ts', dist));

// The declarations have their types written out: what other packages declare is not needed, and takes most of the time.
const options = { strict: true, lib: ['lib.es5.d.ts'], types: [] };
const host = ts.createCompilerHost(options);
host.resolveModuleNameLiterals = (literals, from) =>
  literals.map(({ text }) => {
    if (!text.startsWith('.')) return { resolvedModule: undefined };
    const resolvedFileName = fileURLToPath(new URL(text.replace(/\.js$/, '.d.ts'), `file://${from}`));
    return { resolvedModule: { resolvedFileName, extension: '.d.ts' } };
  });
const program = ts.createProgram([file], options, host);
const checker = program.getTypeChecker();
const declaration = program
  .getSourceFile(file)
  .statements.find((node) => ts.isInterfaceDeclaration(node) && node.name.text === 'WsGatewayOptions');

/** What is to be written into doc comments, by the comment. */
const additions = new Map();

/** @param isDeclared false where the options are those of a group that is described elsewhere, with their defaults */
function describe(schema, type, isDeclared = true) {
  if (type === undefined) return;
  if (typeof schema.additionalProperties === 'object') describe(schema.additionalProperties, memberTypeOf(type), false);
  for (const alternative of schema.anyOf ?? []) describe(alternative, type, isDeclared);
  if (schema.items !== undefined) describe(schema.items, elementOf(type), isDeclared);
  for (const [name, one] of Object.entries(schema.properties ?? {})) {
    const symbol = memberOf(type, name);
    if (symbol === undefined) continue;
    const { text, fallback } = commentOf(symbol);
    if (fallback !== undefined) delete one.default; // it depends on the process, or on other options
    const words = fallback === undefined ? text : `${text} Default: ${fallback}.`;
    // A file has null where the module's option is Infinity.
    if (text !== '') one.description = one.type?.includes('null') ? words.replaceAll('`Infinity`', '`null`') : words;
    if (isDeclared) note(symbol, one);
    describe(one, checker.getTypeOfSymbol(symbol), isDeclared);
  }
}

/** Of a type that may be several things, the member of that name of the one that has it. */
function memberOf(type, name) {
  const owner = (type.isUnion() ? type.types : [type]).find(
    (part) => !checker.isArrayLikeType(part) && part.getProperty(name) !== undefined,
  );
  return owner?.getProperty(name);
}

/** Of a type that may be several things, what the members are of the one that takes any name. */
function memberTypeOf(type) {
  const indexed = (part) => checker.getIndexTypeOfType(part, ts.IndexKind.String);
  return (type.isUnion() ? type.types : [type]).map(indexed).find((found) => found !== undefined);
}

function elementOf(type) {
  const list = (type.isUnion() ? type.types : [type]).find((part) => checker.isArrayLikeType(part));
  return list && checker.getIndexTypeOfType(list, ts.IndexKind.Number);
}

/** The doc comment of an option, and its default where that is said in words. */
function commentOf(symbol) {
  const inOneLine = (parts) => ts.displayPartsToString(parts).replaceAll(/\s+/g, ' ').trim();
  const tag = symbol.getJsDocTags(checker).find(({ name }) => name === 'default');
  return { text: inOneLine(symbol.getDocumentationComment(checker)), fallback: tag && inOneLine(tag.text) };
}

/** Bounds and default of an option, for its doc comment. */
function note(symbol, schema) {
  const comment = symbol.declarations?.flatMap((node) => node.jsDoc ?? [])[0];
  const words = [boundsOf(schema), schema.default !== undefined && `@default ${literal(schema.default)}`].filter(
    Boolean,
  );
  if (comment !== undefined && words.length > 0) additions.set(comment, words.join(' '));
}

function boundsOf({ type, minimum, maximum, minLength, maxLength, items }) {
  const range = `${literal(minimum)} to ${literal(maximum)}`;
  if (type === 'integer') return `${range}.`;
  if (Array.isArray(type)) return `${range}; \`Infinity\` is off.`;
  if (items?.type === 'integer') return `Each ${boundsOf(items)}`;
  return maxLength === undefined ? undefined : `${minLength} to ${literal(maxLength)} characters.`;
}

/** A value as TypeScript has it; of the schema, null is Infinity. */
function literal(value) {
  if (value === null) return 'Infinity';
  if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`;
  if (typeof value === 'number') return String(value).replaceAll(/\B(?=(\d{3})+$)/g, '_');
  return typeof value === 'string' ? `'${value}'` : String(value);
}

const schema = structuredClone(fileSchema());
describe(schema, checker.getTypeAtLocation(declaration));
writeFileSync(new URL('ws-gateway.schema.json', dist), `${JSON.stringify(schema, null, 2)}\n`);

for (const source of program.getSourceFiles()) {
  const own = [...additions].filter(([comment]) => comment.getSourceFile() === source);
  let { text } = source;
  for (const [comment, words] of own.toSorted(([a], [b]) => b.pos - a.pos)) {
    const at = comment.tags?.[0]?.pos ?? comment.end - '*/'.length; // a tag ends what stands before it
    text = `${text.slice(0, at).replace(/[\s*]*$/, '')} ${words} ${text.slice(at)}`;
  }
  if (own.length > 0) writeFileSync(source.fileName, text);
}
