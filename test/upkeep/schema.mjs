// After the build: the JSON Schema of the configuration file, with the doc comments of the options as descriptions.
import { writeFileSync } from 'node:fs';
import ts from 'typescript';
import { fileSchema } from '../../dist/service/configuration/file-schema.js';

const root = new URL('../../', import.meta.url).pathname;
const file = `${root}src/ws-gateway.options.ts`;
const { config } = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile);
const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
const program = ts.createProgram([file], { ...options, noEmit: true });
const checker = program.getTypeChecker();
const source = program.getSourceFile(file);
const declaration = source.statements.find(
  (statement) => ts.isInterfaceDeclaration(statement) && statement.name.text === 'WsGatewayOptions',
);

/** Of a type that may be several things, the object whose members the schema describes. */
function membersOf(type, names) {
  const parts = type.isUnion() ? type.types : [type];
  return parts.find((part) => names.some((name) => part.getProperty(name) !== undefined));
}

function describe(schema, type) {
  if (schema.properties === undefined || type === undefined) return;
  const members = membersOf(type, Object.keys(schema.properties));
  for (const [name, one] of Object.entries(schema.properties)) {
    const symbol = members?.getProperty(name);
    if (symbol === undefined) continue;
    const text = ts.displayPartsToString(symbol.getDocumentationComment(checker)).replaceAll(/\s+/g, ' ').trim();
    // A file has null where the module's option is Infinity.
    if (text !== '') one.description = one.type?.includes('null') ? text.replaceAll('`Infinity`', '`null`') : text;
    describe(one, checker.getTypeOfSymbol(symbol));
  }
}

const schema = structuredClone(fileSchema());
describe(schema, checker.getTypeAtLocation(declaration));
writeFileSync(`${root}dist/ws-gateway.schema.json`, `${JSON.stringify(schema, null, 2)}\n`);
