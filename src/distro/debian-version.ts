/**
 * Order of Debian versions: deb-version(7). `[epoch:]upstream[-revision]`, compared by runs of non-digits (`~` before the
 * end, letters before the rest) and digits in turn.
 */

function order(character: number): number {
  if (character === 0x7e) return -1; // ~
  if ((character >= 0x41 && character <= 0x5a) || (character >= 0x61 && character <= 0x7a)) return character;
  return character + 256;
}

const isDigit = (character: number): boolean => character >= 0x30 && character <= 0x39;

function comparePart(a: string, b: string): number {
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    while ((i < a.length && !isDigit(a.charCodeAt(i))) || (j < b.length && !isDigit(b.charCodeAt(j)))) {
      const left = i < a.length && !isDigit(a.charCodeAt(i)) ? order(a.charCodeAt(i)) : 0;
      const right = j < b.length && !isDigit(b.charCodeAt(j)) ? order(b.charCodeAt(j)) : 0;
      if (left !== right) return left - right;
      i++;
      j++;
    }
    const start = [i, j] as const;
    while (i < a.length && isDigit(a.charCodeAt(i))) i++;
    while (j < b.length && isDigit(b.charCodeAt(j))) j++;
    const left = a.slice(start[0], i).replace(/^0+/, '');
    const right = b.slice(start[1], j).replace(/^0+/, '');
    if (left.length !== right.length) return left.length - right.length;
    if (left !== right) return left < right ? -1 : 1;
  }
  return 0;
}

function split(version: string): [epoch: string, upstream: string, revision: string] {
  const colon = version.indexOf(':');
  const rest = colon < 0 ? version : version.slice(colon + 1);
  const dash = rest.lastIndexOf('-');
  return [
    colon < 0 ? '' : version.slice(0, colon),
    dash < 0 ? rest : rest.slice(0, dash),
    dash < 0 ? '' : rest.slice(dash + 1),
  ];
}

/** Negative, zero or positive, as for Array.sort. */
export function compareDebianVersions(a: string, b: string): number {
  const [left, right] = [split(a), split(b)];
  for (let part = 0; part < 3; part++) {
    const difference = comparePart(left[part]!, right[part]!);
    if (difference !== 0) return Math.sign(difference);
  }
  return 0;
}
