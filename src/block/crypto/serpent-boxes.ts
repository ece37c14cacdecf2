/**
 * The S-boxes of Serpent on 32 nibbles at once: bit i of words a, b, c, d (w[0] to w[3]) is one nibble, a its lowest bit. Each bit of the
 * result is the exclusive or of products of input bits, its algebraic normal form, which the box's table (`serpentBoxes`) determines; the test
 * compares the two for every nibble.
 */

/** Replaces the four words. */
export type NibbleBox = (w: Int32Array) => void;

/** S0 to S7 of the specification: the digit at place n is what n becomes. */
export const serpentBoxes: readonly string[] = [
  '38f1a65bed42709c',
  'fc27905a1be86d34',
  '86793cafd1e40b52',
  '0fb8c963d124a75e',
  '1f83c0b6254a9e7d',
  'f52b4a9c03e8d671',
  '72c5846be91fd3a0',
  '1df0e82b74ca9356',
];

export const substitute: readonly NibbleBox[] = [
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const abc = ab & c;
    const acd = ac & d;
    const bcd = bc & d;
    w[0] = ~(a ^ ab ^ c ^ ac ^ bc ^ abc ^ d ^ acd ^ bcd);
    w[1] = ~(a ^ ac ^ bc ^ abc ^ bd ^ acd ^ bcd);
    w[2] = b ^ ab ^ ac ^ abc ^ d ^ bd ^ bcd;
    w[3] = a ^ b ^ c ^ d ^ ad;
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abd = ab & d;
    const acd = ac & d;
    const bcd = bc & d;
    w[0] = ~(a ^ b ^ bc ^ ad ^ cd ^ acd ^ bcd);
    w[1] = ~(a ^ ab ^ c ^ ac ^ d ^ bd ^ abd ^ acd ^ bcd);
    w[2] = ~(b ^ ab ^ c ^ d);
    w[3] = ~(b ^ ac ^ d ^ ad ^ abd ^ acd ^ bcd);
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abc = ab & c;
    const abd = ab & d;
    const acd = ac & d;
    w[0] = b ^ c ^ ac ^ d;
    w[1] = a ^ b ^ c ^ bc ^ abc ^ ad ^ abd ^ cd ^ acd;
    w[2] = a ^ b ^ bc ^ d ^ bd ^ abd ^ cd ^ acd;
    w[3] = ~(a ^ b ^ c ^ abc ^ bd);
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abc = ab & c;
    const abd = ab & d;
    const acd = ac & d;
    const bcd = bc & d;
    w[0] = a ^ b ^ bc ^ d ^ ad ^ cd ^ acd ^ bcd;
    w[1] = a ^ b ^ ac ^ ad ^ abd ^ cd ^ acd;
    w[2] = a ^ ab ^ c ^ abc ^ d ^ bd ^ abd;
    w[3] = a ^ b ^ ab ^ c ^ ac ^ abc ^ d ^ cd ^ acd;
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abc = ab & c;
    const abd = ab & d;
    const acd = ac & d;
    const bcd = bc & d;
    w[0] = ~(b ^ ab ^ c ^ d ^ ad ^ bd);
    w[1] = a ^ ac ^ bc ^ d ^ bd ^ cd ^ acd ^ bcd;
    w[2] = a ^ ab ^ c ^ bc ^ abc ^ bd ^ abd ^ cd ^ bcd;
    w[3] = a ^ b ^ c ^ bc ^ ad ^ bd ^ abd;
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abc = ab & c;
    const abd = ab & d;
    const acd = ac & d;
    const bcd = bc & d;
    w[0] = ~(b ^ ab ^ c ^ d ^ ad ^ bd);
    w[1] = ~(a ^ ab ^ c ^ d ^ bd ^ abd ^ cd);
    w[2] = ~(b ^ ac ^ d ^ abd ^ cd ^ acd ^ bcd);
    w[3] = ~(a ^ b ^ c ^ abc ^ d ^ ad ^ acd);
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abc = ab & c;
    const abd = ab & d;
    const bcd = bc & d;
    w[0] = ~(a ^ b ^ c ^ ac ^ bc ^ abc ^ d ^ abd ^ bcd);
    w[1] = ~(b ^ c ^ ad);
    w[2] = ~(a ^ ab ^ c ^ bc ^ abc ^ bd ^ abd ^ cd ^ bcd);
    w[3] = b ^ ab ^ c ^ ac ^ abc ^ d ^ cd ^ bcd;
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abc = ab & c;
    const abd = ab & d;
    const acd = ac & d;
    const bcd = bc & d;
    w[0] = ~(ab ^ c ^ ad ^ bd ^ cd ^ acd ^ bcd);
    w[1] = b ^ ab ^ c ^ ac ^ bc ^ d ^ ad ^ abd ^ acd;
    w[2] = a ^ b ^ c ^ abc ^ d ^ ad ^ bd ^ abd ^ bcd;
    w[3] = a ^ b ^ c ^ ac ^ abc ^ ad;
  },
];

export const substituteBack: readonly NibbleBox[] = [
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abd = ab & d;
    const acd = ac & d;
    const bcd = bc & d;
    w[0] = ~(ab ^ c ^ bc ^ ad ^ bd ^ abd ^ cd ^ acd ^ bcd);
    w[1] = a ^ b ^ c ^ ac ^ bd ^ acd ^ bcd;
    w[2] = ~(a ^ b ^ ab ^ c ^ d);
    w[3] = ~(a ^ bc ^ d ^ abd ^ cd ^ acd ^ bcd);
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const abc = ab & c;
    const acd = ac & d;
    const bcd = bc & d;
    w[0] = ~(a ^ b ^ ab ^ abc ^ bd ^ acd ^ bcd);
    w[1] = b ^ c ^ abc ^ d ^ ad ^ bd ^ acd ^ bcd;
    w[2] = ~(a ^ b ^ ac ^ bc ^ abc ^ d ^ acd);
    w[3] = a ^ c ^ d ^ bd;
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abc = ab & c;
    const abd = ab & d;
    const acd = ac & d;
    w[0] = a ^ b ^ c ^ bc ^ bd;
    w[1] = b ^ ab ^ c ^ ad ^ abd ^ cd ^ acd;
    w[2] = ~(a ^ ab ^ c ^ d ^ ad ^ bd ^ abd ^ acd);
    w[3] = ~(ab ^ bc ^ abc ^ d ^ acd);
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abc = ab & c;
    const abd = ab & d;
    const acd = ac & d;
    const bcd = bc & d;
    w[0] = a ^ c ^ bc ^ d ^ ad ^ bd ^ bcd;
    w[1] = b ^ c ^ bc ^ abc ^ d ^ ad ^ acd ^ bcd;
    w[2] = ab ^ ac ^ bc ^ ad ^ bd ^ abd ^ cd ^ acd;
    w[3] = a ^ b ^ c ^ ac ^ abc ^ ad ^ abd ^ cd;
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abc = ab & c;
    const abd = ab & d;
    const acd = ac & d;
    w[0] = ~(a ^ b ^ c ^ d ^ ad ^ abd ^ cd ^ acd);
    w[1] = ab ^ c ^ ac ^ d ^ ad ^ acd;
    w[2] = ~(a ^ b ^ ab ^ c ^ ac ^ abc ^ d ^ bd ^ abd);
    w[3] = b ^ ab ^ c ^ ad ^ abd ^ cd;
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const abc = ab & c;
    const abd = ab & d;
    const acd = ac & d;
    w[0] = a ^ bc ^ d ^ abd;
    w[1] = a ^ b ^ ac ^ bc ^ abc ^ d ^ ad ^ abd;
    w[2] = a ^ ab ^ c ^ bd ^ abd ^ acd;
    w[3] = ~(b ^ ab ^ c ^ abc ^ ad);
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abc = ab & c;
    const abd = ab & d;
    const bcd = bc & d;
    w[0] = ~(a ^ ab ^ ac ^ bc ^ abc ^ d ^ abd ^ bcd);
    w[1] = ~(b ^ c ^ ac ^ d);
    w[2] = ~(a ^ b ^ bc ^ bd ^ abd ^ cd ^ bcd);
    w[3] = ~(b ^ ab ^ c ^ bc ^ abc ^ d ^ ad ^ abd ^ cd ^ bcd);
  },
  (w) => {
    const [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
    const ab = a & b;
    const ac = a & c;
    const bc = b & c;
    const ad = a & d;
    const bd = b & d;
    const cd = c & d;
    const abc = ab & c;
    const abd = ab & d;
    const acd = ac & d;
    const bcd = bc & d;
    w[0] = ~(a ^ b ^ bc ^ bd ^ abd ^ cd ^ bcd);
    w[1] = ~(a ^ c ^ bc ^ d ^ ad ^ bd ^ acd ^ bcd);
    w[2] = b ^ ac ^ d ^ abd ^ cd ^ acd;
    w[3] = ab ^ c ^ abc ^ ad ^ bd ^ abd;
  },
];
