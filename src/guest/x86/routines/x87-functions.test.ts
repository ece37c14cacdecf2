/**
 * The transcendental functions: against results of a real processor (Intel Sapphire Rapids), at most one unit in the last
 * place away, and against known values.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { x87Function } from './x87-functions.js';
import { functionNumber, type Transcendental } from './x87-transcendental.js';

type Number80 = readonly [sig: bigint, se: number];
const parse = (text: string): Number80 => {
  const [sig, se] = text.split(':');
  return [BigInt(`0x${sig}`), Number.parseInt(se, 16)];
};

/** Numbers in order of their value: neighbours differ by 1. */
const ordinal = ([sig, se]: Number80): bigint => {
  const size = (BigInt(se & 0x7fff) << 63n) | (sig & ((1n << 63n) - 1n));
  return se & 0x8000 ? -size : size;
};

const toNumber = ([sig, se]: Number80): number =>
  Number(sig) * 2 ** ((se & 0x7fff) - 16383 - 63) * (se & 0x8000 ? -1 : 1);

const ZERO: Number80 = [0n, 0];
const run = (name: Transcendental, a: Number80, b: Number80 = ZERO, control = 0x37f) =>
  x87Function(0, functionNumber[name], a[0], a[1], b[0], b[1], control);

/** Function, ST(0), ST(1), result, exception flags and C2. */
const processor = `
fsin ffffffffffffffff:3ff9 bd760f7349351b00:3ff9 fff5557777437464:3ff9 20
fsin 85c4768000000001:3ff8 9b02c3da27710c00:4000 85c4151ac5c0cd91:3ff8 20
fsin 8000000000000000:3ff9 b3085c39daf59fff:bff9 fffd55577776a76b:3ff8 20
fsin ffffffffffffffff:3ff7 8000000000000000:bfff ffff555577777436:3ff7 20
fsin c777d70241ce7fa9:3ffb ffffffffffffffff:3ffd c727253ed57c6c89:3ffb 20
fsin cef2638000000001:3ff9 ec79f231c4000000:3fff ceecc103ddc527ec:3ff9 20
fsin c52c8660624b7740:4016 ffffffffffffffff:bffb c84c43f4ef82c3d1:bffe 20
fsin ffffffffffffffff:4039 8000000000000000:3ff9 e56e8076b429c17c:3ffe 20
fsin e363458000000000:4022 e494638000000001:4000 bfe1ab9cbd3dc0eb:bff9 20
fsin d47ebce4809880d2:402c b4bde98000000001:3fff e729e36d149bd2de:3ffd 20
fsin c055f18000000000:c03e ffffffffffffffff:c012 c055f18000000000:c03e 400
fsin 80000003fbd80f80:c015 8000080000000000:4012 fa11296392e4b877:bffe 20
fsin 0:8000 ffffffffffffffff:9ed6 0:8000 0
fsin 977adf8000000000:4009 e55ec55a7d5eafff:bf80 ba4b657d8da0a706:bffe 20
fcos dffc1ee97e485bff:bff8 8000000000200000:3ffb fff9e03c8efbf300:3ffe 20
fcos e0fb0edddcb1667a:3ff7 af8e4c57732a6c06:3ffd fffe748fc559415e:3ffe 20
fcos 8000210000000000:c000 932d2cffffffffff:3ffa d51222c8744e6b47:bffd 20
fcos e2424ea6155b5800:3ff9 8000000000000000:bff9 ffe70143a19baf73:3ffe 20
fcos 872c5ad73cf47f46:3ffb c396e358eb98495e:3ff7 ff714da4b5abeac1:3ffe 20
fcos bf3b8544f6000000:3ff7 ffffffffffffffff:bffd fffee24c77bd0fe1:3ffe 20
fcos d400000000000000:4006 ffffffffffffffff:4000 eb68362e98f6c608:bffa 20
fcos 8f03a7a0e1bd4de7:4013 c129788ddad11401:3ff7 b30447357a09fb3e:bffe 20
fcos dbc8cb0cd4f258f0:4004 cdb4b331286aca7d:bfff 822ab57d06349fd3:bffa 20
fcos b200000000000000:4012 928d3e5598a5afff:3ff8 f79d02e7dd017d5a:3ffe 20
fcos f000000000000000:8001 8000646ece9c0000:3b75 8000000000000000:3fff 20
fcos 8000000000000000:ffd9 b71f21e21c238733:3fef 8000000000000000:ffd9 400
fcos b21dbaefc8000000:3fdd bd453e72d7dc7400:bbe9 8000000000000000:3fff 20
fcos ac65129500000000:17 829219401ea3a229:ffff 8000000000000000:3fff 20
fptan b3fdd00000000000:bffe 8000000008000000:bff9 d8fb78fa5a6fbbfa:bffe 20
fptan 9b19d5ffffffffff:3ff8 bf6a4c8000000000:bffa 9b1b05a72790041d:3ff8 20
fptan 8000000000000000:3ffc dfad45cdbe2cd14c:3ffe 80abbd78a88d2702:3ffc 20
fptan cf72b40a65bb87ff:bffa ffffffffffffffff:bff7 cfa02848575f794a:bffa 20
fptan ef2b917fffffffff:bfff e29e6d0000000000:bffb d093c9b7941fb928:4000 20
fptan 8000000000000000:3ffb ffffffffffffffff:3fff 802abbc2a6f80419:3ffb 20
fptan 80000000399712c0:4000 a7d2d34464873139:bff8 8bd7b16efdfb5dec:c000 20
fptan c03c4a8000000000:bff8 a2c42a7fffffffff:4000 c03e8ca76f6cfd1e:bff8 20
fptan d4df787fffffffff:bffb 854a238000000001:3ffa d5a493c90d731367:bffb 20
fptan e6aef08000000000:3ff7 8000000000100000:3ffa e6afea4193956258:3ff7 20
fptan ffffffffffffffff:3fed 9954ec04e02faa79:3fe3 800000000aaaaaaa:3fee 20
fptan ac69c0e1a7092737:7fff fac57ba1afa18c01:ffdb ec69c0e1a7092737:7fff 1
fptan bea981961a274195:4004 ce691d508a0700a5:7fff 9a06c83e85e173b5:3ffe 20
fptan 8000000000000000:bf7e f15dc44a9efd5e07:43fb 8000000000000000:bf7e 20
fpatan ffffffffffffffff:3ff9 b134e4108b2004c7:3ffd bd893aac7f3b2d06:3fff 20
fpatan e0e7ef5686023401:3ffa e000000000000000:c000 c70dd34a993d8e68:bfff 20
fpatan ffffffffffffffff:bff9 f2aecc1a0d5b9ca4:bff7 ba2b45388631cd66:c000 20
fpatan d59785b3b619cd0c:3ffa ffffffffffffffff:bff9 8a35ec20567b4072:bffe 20
fpatan c6c6fda14fbde3c5:3ff9 8000000000000000:3ff9 9275357e28a291fb:3ffe 20
fpatan c603638000000000:3ffa eae124f131e1c000:bffa decfa15f8988c36a:bffe 20
fpatan 8200000000000000:4000 e2b4d050e84da7d7:3ff7 df37b7fcbfe9496e:3ff6 20
fpatan 8e1e2e7562ccbb94:bff9 828d35109ecb2c3d:bffc da5f85e451061eb8:bfff 20
fpatan 8000000000000000:bfff f3c48af9690743ff:3fff 8379e0d8daa9e0de:4000 20
fpatan cfb0d18000000001:3ffb 8000000000400000:bffe af72b3467fc64700:bfff 20
fpatan ffffffffffffffff:bfea 4000000:8000 c90fdaa22168c235:c000 22
fpatan ffffffffffffffff:c017 81b02d0d90000000:8045 c90fdaa22168c235:c000 20
fpatan fe6724ffffffffff:3f72 863934ffffffffff:bff4 c90fdaa22168c235:bfff 20
fpatan 6357028cb825c779:e56f e8313e42a98b3c01:c03c c000000000000000:ffff 1
f2xm1 df72d80000000000:bffb 8d423f8000000001:4000 952bca095ab94706:bffb 20
f2xm1 cef7118000000001:bffd c2bdffebe482c3ff:bff7 fa3977d2e227e300:bffc 20
f2xm1 8000000000000000:bffd ffffffffffffffff:3ff9 a2ec0cd4a58a542f:bffc 20
f2xm1 bf4426ffffffffff:bffa e0cdbeffffffffff:bfff 8273fbab7fa25c70:bffa 20
f2xm1 8000004000000000:bff9 8000000004000000:3fff b07cfd1aa2b178a8:bff8 20
f2xm1 8003457ea9498000:bff7 b8dfafeec229811d:c000 b1392c8ed45ebc0d:bff6 20
f2xm1 c400000000000000:bff8 8004000000000000:3ffa 874b8e01342f9d0f:bff8 20
f2xm1 8008000000000000:3ff8 b5b8a82681055fff:3fff b1f8766620e3ef8c:3ff7 20
f2xm1 e6944c7fffffffff:bffd e774668000000001:3ff9 8948f778c128eb2a:bffd 20
f2xm1 ea700427eddb6ec4:bffe faf5e9eb2c740000:bffa f09bf1498fd71db8:bffd 20
f2xm1 ed1393c96d816a95:bbd7 ffffffffffffffff:ffff a454321856e10dab:bbd7 20
f2xm1 85dc760000000000:bbc9 f6997b8000000000:c03b b9922c95e00aa671:bbc8 20
f2xm1 c9502ae21d2287ff:2 d47c660000000000:bfdd 8b8a2632840724b3:2 20
f2xm1 bb2706ffffffffff:bff8 87eca75e977d6bee:4013 813644a9574e863e:bff8 20
fyl2x ffffffffffffffff:3ffd c93bee8000000001:bff9 c93bee8000000002:3ff9 20
fyl2x ffffffffffffffff:3ffe 800000083770bfb0:3fff b8aa3b3536b7723d:bfbf 20
fyl2x 8139097fffffffff:3ffe 801911fc00000000:bfff fcae81719d229154:3ffe 20
fyl2x ffffffffffffffff:3ffe c57baba9f9e9603a:3fff 8e74352592e94678:bfc0 20
fyl2x 8080000000000000:3ff7 f8e369242e088eaa:bff8 f8b69d495b0a8edb:3ffb 20
fyl2x c7425e2defe67ef5:3fff 97fcd81e67926363:bffe c216d18ded9514c2:bffd 20
fyl2x fa2e7b8000000000:3ffb d29a4efe1bc1dbff:bffb 9fb2caee160ed8c1:3ffd 20
fyl2x 8000000000000000:3fff 8001334000000000:bffc 0:8000 0
fyl2x 8000000000000800:3ff9 b124b55f70d07400:3ffe 84db8807949c5501:c001 20
fyl2x bacb853774748336:4000 ffffffffffffffff:4000 c5ccc8f0391394a1:4001 20
fyl2x dfc2ca03adfb6c00:c005 ef49447fffffffff:bfe4 c000000000000000:ffff 1
fyl2x 8000000000000000:3ff5 8000000000000000:401c a000000000000000:c01f 20
fyl2x 81889f49267bc4f2:3c0a 200000000:8000 7e9f733badf:0 32
fyl2x f8126d42d49e3c00:3fec a77db913399cae55:bfed bce7104fc355df8a:3ff1 20
fyl2xp1 dbb0260eb144c401:3ff7 8010000000000000:3ffb 9e050bcc2ca39582:3ff4 20
fyl2xp1 ef7c09df4837f4f1:3fed af3b079ecf1505ef:3ff7 ec7e803887d66a2f:3fe6 20
fyl2xp1 f46e0976285caba2:bff1 f31c517fffffffff:3fff a7737bd246966edf:bff3 20
fyl2xp1 ac31b68000000001:bfe0 ffffffffffffffff:bff8 f86c77f63e21a1e1:3fda 20
fyl2xp1 d367ee8000000000:3fd8 b87e762ee603fab7:3ff8 dbcda093e5987481:3fd2 20
fyl2xp1 8000000000000000:bff9 8000000400000000:bffd ba1f7436caa6533a:3ff7 20
fyl2xp1 c8645261d69318a2:bff1 9000000000000000:bffc a2a104e146ce65ac:3fef 20
fyl2xp1 e746c10000000000:3ff3 8000717f35ee0816:3ffc a6cbce41b1e27e3a:3ff1 20
fyl2xp1 96117d88aa1c7a69:bfe5 d9a08a2ca9807bff:3ffc b80ce244bb81e25b:bfe3 20
fyl2xp1 c4df2720bb05efff:3fde d3725cc6bb81e844:3ffc ea9854229d6a9547:3fdc 20
fyl2xp1 8000000000000010:bfed 8000000000008001:ffff c000000000008001:ffff 1
fyl2xp1 8000000000000000:3f68 ffffffffffffffff:bffc b8aa3b295c17f0bb:bf66 20
fyl2xp1 87804c12379b7000:43 d06fc5109b76c66a:bffe 9f2a9d741c36fe52:8043 20
fyl2xp1 200000:0 8e14818000000001:c007 333e9bc4:8000 32
`;

test("results are a unit in the last place from the processor's, flags are equal", () => {
  const lines = processor.trim().split('\n');
  assert.ok(lines.length > 90);
  for (const line of lines) {
    const [name, a, b, result, flagsText] = line.split(' ');
    const got = run(name as Transcendental, parse(a), parse(b));
    const distance = ordinal([got[0], got[1]]) - ordinal(parse(result));
    assert.ok(distance >= -1n && distance <= 1n, `${line}: ${got[0].toString(16)}:${got[1].toString(16)}`);
    assert.equal(got[4] & 0x43f, Number.parseInt(flagsText, 16), `${line}: flags`);
  }
});

test('they agree with the double precision of JavaScript', () => {
  const near = (got: number, want: number) =>
    assert.ok(Math.abs(got - want) <= Math.abs(want) * 1e-14, `${got} ${want}`);
  for (let i = 1; i <= 50; i++) {
    const a: Number80 = [(1n << 63n) + (BigInt(i) << 57n), 16383 - (i % 7)];
    const x = toNumber(a);
    const value = ([sig, se]: ReturnType<typeof run>) => toNumber([sig, se]);
    near(value(run('fsin', a)), Math.sin(x));
    near(value(run('fcos', a)), Math.cos(x));
    near(value(run('fptan', a)), Math.tan(x));
    near(value(run('fpatan', [1n << 63n, 16383], a)), Math.atan(x));
    near(value(run('fyl2x', a, [1n << 63n, 16383])), Math.log2(x));
    if (x < 1) near(value(run('f2xm1', a)), Math.expm1(x * Math.LN2));
    if (x < 0.29) near(value(run('fyl2xp1', a, [1n << 63n, 16383])), Math.log1p(x) * Math.LOG2E);
    const [sinSig, sinSe, cosSig, cosSe] = run('fsincos', a);
    near(toNumber([sinSig, sinSe]), Math.sin(x));
    near(toNumber([cosSig, cosSe]), Math.cos(x));
  }
});

test('operands out of range set C2 and stay', () => {
  const large: Number80 = [1n << 63n, 16383 + 63];
  for (const name of ['fsin', 'fcos', 'fsincos', 'fptan'] as const) {
    const [sig, se, , , flags] = run(name, large);
    assert.deepEqual([sig, se, flags], [...large, 0x400]);
  }
});

test('any bits at all are an operand', () => {
  const patterns = [
    0n,
    1n,
    (1n << 63n) - 1n,
    1n << 63n,
    (1n << 63n) + 1n,
    3n << 62n,
    (1n << 64n) - 1n,
    0x5555555555555555n,
  ];
  const exponents = [0, 1, 0x3f00, 16320, 16382, 16383, 16384, 16445, 16446, 0x7ffe, 0x7fff];
  for (const name of Object.keys(functionNumber) as Transcendental[]) {
    for (const sigA of patterns) {
      for (const exp of exponents) {
        for (const sign of [0, 0x8000]) {
          for (const other of [0, 1, 0x3fff, 0x7ffe, 0x7fff, 0xffff]) {
            const control = 0x340 | (exp & 3 ? 0x3f : 0);
            const [sig, se, sig2, se2, flags] = run(name, [sigA, exp | sign], [sigA, other], control);
            assert.ok(sig >= 0n && sig < 1n << 64n && sig2 >= 0n && sig2 < 1n << 64n && se <= 0xffff && se2 <= 0xffff);
            assert.equal(flags & ~0x63f, 0);
          }
        }
      }
    }
  }
});
