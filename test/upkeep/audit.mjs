// Asks the registry for advisories: any about what comes with the package is an error, and a high or critical one about what only the
// development uses. node test/upkeep/audit.mjs [FOLDER]
import { npm, withProductionTree } from './production.mjs';

const TIMEOUT_MS = Number(process.env.AUDIT_TIMEOUT_MS ?? 60_000);
const root = process.argv[2] ?? new URL('../..', import.meta.url).pathname;
const SEVERITIES = ['info', 'low', 'moderate', 'high', 'critical'];

/** Why there was no answer. No answer is no verdict, and takes none back. */
const unanswered = [];
const found = [
  ...withProductionTree(root, (tree) => audit(tree, 'info')),
  ...audit(root, 'high').map((line) => `${line} (with the development)`),
];
if (found.length > 0) console.error(`audit: ${found.length} advisories\n  ${found.join('\n  ')}`);
else if (unanswered.length === 0) console.log('audit: no advisories');
if (unanswered.length > 0) console.log(`audit: SKIPPED, the registry has not answered (${unanswered[0]})`);
process.exitCode = found.length > 0 ? 1 : 0;

function audit(folder, least) {
  if (unanswered.length > 0) return [];
  const args = ['audit', '--json', '--package-lock-only', '--fetch-retries=0', `--fetch-timeout=${TIMEOUT_MS}`];
  const { stdout, error } = npm(args, folder, { timeout: TIMEOUT_MS });
  const { vulnerabilities, statusCode } = parse(stdout);
  if (vulnerabilities === undefined) {
    const late = error?.code === 'ETIMEDOUT' ? `within ${TIMEOUT_MS / 1000} s` : error?.code;
    unanswered.push(late ?? statusCode ?? 'with anything that can be read');
    return [];
  }
  return Object.values(vulnerabilities)
    .filter(({ severity }) => SEVERITIES.indexOf(severity) >= SEVERITIES.indexOf(least))
    .flatMap(({ name, via }) => via.filter((item) => typeof item === 'object').map(({ title, url, severity }) => `${name}: ${severity}, ${title} (${url})`)); // prettier-ignore
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {}; // which is no report
  }
}
