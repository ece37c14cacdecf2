/**
 * The public types of an entry point as text, from the compiler's declaration files: what is exported, and every type of the
 * package that it leads to. A change of the interface is then a diff to read.
 */
import { readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';

interface Found {
  readonly file: string;
  readonly name: string;
  readonly text: string;
}

/** Comments and source map notes out; lines and their indents stay. */
function strip(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .join('\n');
}

const sources = new Map<string, string>();
function load(file: string): string {
  const known = sources.get(file);
  if (known !== undefined) return known;
  const text = strip(readFileSync(file, 'utf8'));
  sources.set(file, text);
  return text;
}

const target = (file: string, specifier: string) => join(dirname(file), specifier.replace(/\.js$/, '.d.ts'));

/** Names that a list between braces brings, by the name they have here. */
function namesOf(list: string): [here: string, there: string][] {
  return list
    .split(',')
    .map((each) => each.trim().replace(/^type\s+/, ''))
    .filter((each) => each !== '')
    .map((each) => {
      const [there, here = there] = each.split(/\s+as\s+/);
      return [here, there];
    });
}

/** Where a name of a file is declared: here, or where it is imported or exported from. */
function locate(file: string, name: string): Found | undefined {
  const text = load(file);
  const own = new RegExp(
    `^(?:export )?(?:declare )?(?:abstract )?(?:interface|type|class|function|const) ${name}\\b`,
    'm',
  ).exec(text);
  if (own) return { file, name, text: cut(text, own.index) };
  for (const [, list, specifier] of text.matchAll(/^(?:import|export) (?:type )?\{([^}]*)\} from '([^']+)'/gm)) {
    const match = namesOf(list).find(([here]) => here === name);
    if (match && specifier.startsWith('.')) return locate(target(file, specifier), match[1]);
  }
  for (const [, specifier] of text.matchAll(/^export \* from '([^']+)'/gm)) {
    const found = locate(target(file, specifier), name);
    if (found) return found;
  }
  return undefined;
}

/** A declaration: to the end of its braces, or to its semicolon. */
function cut(text: string, start: number): string {
  let depth = 0;
  for (let i = start; i < text.length; i++) {
    const character = text[i];
    if ('{(['.includes(character)) depth++;
    else if ('})]'.includes(character)) {
      depth--;
      if (depth === 0 && character === '}' && !/^\s*[;|&[]/.test(text.slice(i + 1))) return text.slice(start, i + 1);
    } else if (character === ';' && depth === 0) return text.slice(start, i + 1);
  }
  return text.slice(start);
}

function exportedNames(file: string): string[] {
  const text = load(file);
  const names: string[] = [];
  for (const [, list] of text.matchAll(/^export (?:type )?\{([^}]*)\}/gm))
    names.push(...namesOf(list).map(([here]) => here));
  for (const [, name] of text.matchAll(/^export (?:declare )?(?:interface|type|class|function|const) (\w+)/gm))
    names.push(name);
  for (const [, specifier] of text.matchAll(/^export \* from '([^']+)'/gm))
    names.push(...exportedNames(target(file, specifier)));
  return names;
}

export function apiReport(title: string, entry: string, root: string): string {
  const exported = [...new Set(exportedNames(entry))].sort();
  const seen = new Map<string, Found>();
  const waiting: Found[] = [];
  const take = (found: Found | undefined) => {
    if (!found) return;
    const key = `${found.file} ${found.name}`;
    if (seen.has(key)) return;
    seen.set(key, found);
    waiting.push(found);
  };
  const direct = exported.map((name) => ({ name, found: locate(entry, name) }));
  for (const { found } of direct) take(found);
  for (let found = waiting.pop(); found; found = waiting.pop()) {
    for (const [word] of found.text.matchAll(/\b[A-Z]\w+\b/g)) if (word !== found.name) take(locate(found.file, word));
  }
  const isDirect = new Set(direct.map(({ found }) => found && `${found.file} ${found.name}`));
  const show = ({ file, text }: Found) => {
    const where = relative(root, file)
      .split(sep)
      .join('/')
      .replace(/\.d\.ts$/, '');
    return `// ${where}\n${text.replace(/^(export )?(declare )?/, '')}\n`;
  };
  const order = (a: Found, b: Found) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.file < b.file ? -1 : 1);
  const all = [...seen].sort(([, a], [, b]) => order(a, b));
  return [
    `# ${title}`,
    '',
    'Made from the declaration files; `VRING_UPDATE=1 npm test -- api-report` writes it anew.',
    '',
    '## Exported',
    '',
    '```ts',
    ...all.filter(([key]) => isDirect.has(key)).map(([, found]) => show(found)),
    '```',
    '',
    '## Reached by these',
    '',
    '```ts',
    ...all.filter(([key]) => !isDirect.has(key)).map(([, found]) => show(found)),
    '```',
    '',
  ].join('\n');
}
