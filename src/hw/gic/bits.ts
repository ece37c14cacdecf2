/** Number of the lowest bit that is set in a word that is not 0. */
export const lowestBit = (word: number): number => 31 - Math.clz32(word & -word);
