/**
 * What a translator gets wrong first: code that is written while it runs, code seen at two addresses, exceptions inside string
 * instructions, interrupts between any two instructions. Each on the cold tier alone and on both tiers.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { PROGRAM_GPA, Program } from './testing/program.js';
import { TestPc, type TestPcOptions } from './testing/test-pc.js';

const IDT = 0x8000;
const STACK = 0x90000;
const RESULT = 0x9000;
const PAGE_DIRECTORY = 0x10000;
const PAGE_TABLE = 0x11000;
/** Virtual addresses from here on go through PAGE_TABLE. */
const WINDOW = 0x400000;

function runProgram(program: Program, options: TestPcOptions): TestPc {
  const machine = new TestPc(options).boot(program);
  assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
  assert.ok(!machine.timedOut);
  return machine;
}

/** Identity mapping by one 4 MiB page, and the window behind it through a page table: entries are given. */
function paging(p: Program, entries: readonly number[]): Program {
  p.store32(PAGE_DIRECTORY, 0x83).store32(PAGE_DIRECTORY + 4, PAGE_TABLE | 3);
  entries.forEach((entry, i) => {
    p.store32(PAGE_TABLE + 4 * i, entry);
  });
  p.add('0f 20 e0 83 c8 10 0f 22 e0'); // CR4.PSE
  p.mov(0, PAGE_DIRECTORY).add('0f 22 d8');
  return p.add('0f 20 c0 0d').u32(0x80010000).add('0f 22 c0'); // CR0.PG, WP
}

for (const hotThreshold of [0, 8]) {
  const tier = hotThreshold === 0 ? 'cold tier' : 'both tiers';
  const compiled = (machine: TestPc) =>
    assert.equal(machine.pc.engine.compiler.counters.regions > 0, hotThreshold > 0, 'compiled or not');

  test(`an instruction on two pages is rewritten on either, ${tier}`, () => {
    const p = new Program().begin(IDT, STACK);
    p.mov(1, 200).add('31 f6'); // ecx = 200, esi = 0
    p.label('again');
    p.add('88 0d').abs32('first').add('88 0d').abs32('second'); // mov [..], cl: its immediate's bytes 0 and 1
    p.add(0xe8).rel32('f').add('01 c6 49 75').rel8('again'); // call; add esi, eax; dec ecx; jnz
    p.add('89 35').u32(RESULT).add('b0 00').exit();
    while ((p.here & 4095) !== 4094) p.add(0x90);
    p.label('f').add(0xb8).label('first').add(0).label('second').add('00 00 00 c3');
    const machine = runProgram(p, { hotThreshold });
    assert.equal(p.addressOf('second') & 4095, 0);
    assert.equal(machine.u32(RESULT), ((200 * 201) / 2) * 0x101);
  });

  test(`code and data above 2 GiB, ${tier}`, () => {
    const high = 0x9000_0ff8;
    const p = new Program().begin(IDT, STACK);
    // The function, across two pages, to the high address.
    p.add(0xbe).abs32('f').mov(7, high).mov(1, 32).add('f3 a4');
    p.mov(1, 200).add('31 f6').mov(3, high);
    p.label('again').add('ff d3 49 75').rel8('again'); // call ebx; dec ecx; jnz
    p.add('89 35').u32(RESULT);
    p.store32(high, 0xc307ee83).add('31 f6 ff d3'); // sub esi, 7; ret: over what has been translated; xor esi, esi; call
    p.add('f7 de 89 35')
      .u32(RESULT + 4)
      .add('b0 00')
      .exit();
    p.label('f')
      .add('01 ce 89 35')
      .u32(0x9000_2000)
      .add('03 35')
      .u32(0x9000_2000)
      .add('2b 35')
      .u32(0x9000_2000)
      .add('c3');
    const machine = runProgram(p, { hotThreshold, ramBytes: 0xa000_0000 });
    assert.equal(machine.u32(RESULT), (200 * 201) / 2);
    assert.equal(machine.u32(0x9000_2000), (200 * 201) / 2);
    assert.equal(machine.u32(RESULT + 4), 7, 'what was written over it');
    compiled(machine);
  });

  test(`the instruction behind a store is what was stored, ${tier}`, () => {
    const p = new Program().begin(IDT, STACK);
    p.mov(1, 100).add('31 f6');
    p.label('again');
    p.add('88 0d').abs32('immediate').add(0xb8).label('immediate').u32(0); // mov [immediate], cl; mov eax, imm
    p.add('01 c6 49 75').rel8('again');
    p.add('89 35').u32(RESULT).add('b0 00').exit();
    assert.equal(runProgram(p, { hotThreshold }).u32(RESULT), (100 * 101) / 2);
  });

  test(`a string instruction that overwrites the code behind it, ${tier}`, () => {
    const p = new Program().begin(IDT, STACK);
    p.mov(5, 50).add('31 db'); // ebp = 50, ebx = 0
    p.label('again').mov(0, 0x43434343).add('f7 c5 01 00 00 00 74 05').mov(0, 0x90909090); // odd: nops, even: inc ebx
    p.add(0xbf).abs32('patched').mov(1, 2).add('f3 ab'); // rep stosd
    p.label('patched').add('90 90 90 90 90 90 90 90');
    p.add('4d 75').rel8('again');
    p.add('89 1d').u32(RESULT).add('b0 00').exit();
    assert.equal(runProgram(p, { hotThreshold }).u32(RESULT), 25 * 8);
  });

  test(`code mapped at two addresses knows where it is, and is rewritten at both, ${tier}`, () => {
    const p = new Program().begin(IDT, STACK);
    paging(p, [PROGRAM_GPA + 0x2003, PROGRAM_GPA + 0x2003]);
    const offset = 0x40;
    p.mov(1, 64).add('31 f6 31 ff');
    p.label('again');
    p.mov(0, WINDOW + offset).add('ff d0 01 c6'); // call eax; add esi, eax
    p.mov(0, WINDOW + 0x1000 + offset).add('ff d0 01 c7'); // call eax; add edi, eax
    p.add('49 75').rel8('again');
    p.add('89 35')
      .u32(RESULT)
      .add('89 3d')
      .u32(RESULT + 4);
    // Now through the first mapping: mov eax, 0x1234; ret. Called through the second.
    p.store32(WINDOW + offset, 0x001234b8).store32(WINDOW + offset + 4, 0xc300);
    p.mov(0, WINDOW + 0x1000 + offset)
      .add('ff d0 a3')
      .u32(RESULT + 8);
    p.add('b0 00').exit();
    while (p.here < PROGRAM_GPA + 0x2000 + offset) p.add(0x90);
    p.label('f').add('e8 00 00 00 00 58 c3 90'); // call the next instruction; pop eax; ret
    assert.equal(p.addressOf('f'), PROGRAM_GPA + 0x2000 + offset);
    const machine = runProgram(p, { hotThreshold });
    assert.equal(machine.u32(RESULT), 64 * (WINDOW + offset + 5));
    assert.equal(machine.u32(RESULT + 4), 64 * (WINDOW + 0x1000 + offset + 5));
    assert.equal(machine.u32(RESULT + 8), 0x1234);
    compiled(machine);
  });

  test(`a page that another one takes the place of runs the other one's code, ${tier}`, () => {
    const p = new Program().begin(IDT, STACK);
    paging(p, [PROGRAM_GPA + 0x2003]);
    p.mov(1, 64).add('31 f6');
    p.label('again');
    // eax = page (ecx odd: the second) | 3; the entry; invlpg; call
    p.add('89 c8 83 e0 01 c1 e0 0c 05').u32(PROGRAM_GPA + 0x2003);
    p.add('a3').u32(PAGE_TABLE).add('0f 01 3d').u32(WINDOW);
    p.mov(0, WINDOW).add('ff d0 01 c6 49 75').rel8('again');
    p.add('89 35').u32(RESULT).add('b0 00').exit();
    while (p.here < PROGRAM_GPA + 0x2000) p.add(0x90);
    p.add('b8').u32(1).add('c3');
    while (p.here < PROGRAM_GPA + 0x3000) p.add(0x90);
    p.add('b8').u32(1000).add('c3');
    assert.equal(runProgram(p, { hotThreshold }).u32(RESULT), 32 * 1001);
  });

  test(`a page fault inside REP MOVS: registers are those of the element, and it goes on, ${tier}`, () => {
    const p = new Program().begin(IDT, STACK);
    const source = 0x200000;
    const target = 0x210000;
    paging(p, [target | 3, 0, (target + 0x2000) | 3]);
    p.gate(IDT, 14, 'fault').mov(5, 20); // ebp = 20 rounds
    p.label('round');
    p.store32(PAGE_TABLE + 4, 0)
      .add('0f 01 3d')
      .u32(WINDOW + 0x1000); // not present; invlpg
    p.mov(6, source)
      .mov(7, WINDOW + 0xff2)
      .mov(1, 0x500); // unaligned: one element lies on both pages
    p.add('fc f3 a5'); // cld; rep movsd
    p.label('behind').add('4d 75').rel8('round');
    p.add('89 0d')
      .u32(RESULT + 32)
      .add('89 35')
      .u32(RESULT + 36)
      .add('89 3d')
      .u32(RESULT + 40);
    p.add('b0 00').exit();
    p.label('fault');
    p.add('89 0d')
      .u32(RESULT)
      .add('89 35')
      .u32(RESULT + 4)
      .add('89 3d')
      .u32(RESULT + 8);
    p.add('0f 20 d0 a3').u32(RESULT + 12); // cr2
    p.add('58 a3').u32(RESULT + 16); // pop eax: error code
    p.add('8b 04 24 a3').u32(RESULT + 20); // eip
    p.add('ff 05').u32(RESULT + 24); // faults
    p.store32(PAGE_TABLE + 4, (target + 0x1000) | 3).add('cf');
    const machine = new TestPc({ hotThreshold }).boot(p);
    for (let i = 0; i < 0x1400; i++) machine.ram[source + i] = i * 7 + (i >> 8);
    assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
    assert.equal(machine.u32(RESULT + 24), 20, 'faults');
    assert.equal(machine.u32(RESULT), 0x500 - 3, 'ecx');
    assert.equal(machine.u32(RESULT + 4), source + 12, 'esi');
    assert.equal(machine.u32(RESULT + 8), WINDOW + 0xffe, 'edi');
    assert.equal(machine.u32(RESULT + 12), WINDOW + 0x1000, 'cr2: the first byte that is not there');
    assert.equal(machine.u32(RESULT + 16), 2, 'error code: a write, by the supervisor');
    assert.equal(machine.u32(RESULT + 20), p.addressOf('behind') - 2, 'eip');
    assert.deepEqual(
      [32, 36, 40].map((at) => machine.u32(RESULT + at)),
      [0, source + 0x1400, WINDOW + 0xff2 + 0x1400],
    );
    assert.deepEqual(
      machine.ram.slice(target + 0xff2, target + 0xff2 + 0x1400),
      machine.ram.slice(source, source + 0x1400),
    );
  });

  test(`interrupts at every boundary leave no trace, ${tier}`, () => {
    const rounds = 30;
    const p = new Program().begin(IDT, STACK);
    p.gate(IDT, 0x25, 'handler').initPic(0xdf).mov(5, rounds);
    p.store32(RESULT, 0);
    p.mov(0, 1).mov(1, 0).mov(2, 0).mov(3, 0x1234567).mov(6, 0).mov(7, 0).add('fb');
    const starts: number[] = [];
    const insn = (...bytes: (number | string)[]) => {
      starts.push(p.here);
      p.add(...bytes);
    };
    starts.push(p.here);
    p.label('round').add(0x90);
    insn('69 db 0d 66 19 00'); // imul ebx, ebx, 1664525
    insn('81 c3 5f f3 6e 3c'); // add ebx, ..
    insn('11 d8'); // adc eax, ebx: the flags live across the boundary
    insn('d1 d0'); // rcl eax, 1
    insn('0f a2'); // cpuid
    insn('53'); // push ebx
    insn('8b 14 24'); // mov edx, [esp]
    insn('5a'); // pop edx
    insn('bf 00 00 20 00'); // mov edi, 0x200000
    insn('be 00 01 20 00'); // mov esi, 0x200100
    insn('b9 03 00 00 00'); // mov ecx, 3
    insn('f3 a5'); // rep movsd
    insn('66 8c d1'); // mov cx, ss
    insn('8e d1'); // mov ss, cx
    const shadowed = p.here;
    insn('01 d8'); // add eax, ebx
    insn('9c'); // pushfd
    insn('fa'); // cli
    insn('01 c2'); // add edx, eax
    const closed = p.here;
    insn('9d'); // popfd
    insn('0f 95 c1'); // setnz cl
    insn('01 14 bd 00 04 e0 ff'); // add [edi * 4 + ..], edx
    insn('4d'); // dec ebp
    starts.push(p.here);
    p.add(0x0f, 0x85).rel32('round');
    starts.push(p.here);
    p.label('end').add('fa'); // cli
    p.add('60 bf')
      .u32(RESULT + 64)
      .add('89 e6 b9 08 00 00 00 f3 a5 61 b0 00')
      .exit(); // pushad; copy them; popad
    p.label('handler')
      .add('50 8b 44 24 04 a3')
      .u32(RESULT + 4); // the eip
    p.add('ff 05').u32(RESULT).add('b0 20 e6 20 58 cf');

    const machine = new TestPc({ hotThreshold, icount: { shift: 0 } });
    const { pc } = machine;
    const timer = pc.clock.createTimer('test', () => pc.irqs[5].set(true));
    const attempt = (after: number) => {
      machine.boot(p);
      pc.irqs[5].set(false);
      const start = pc.engine.instructions;
      if (after >= 0) timer.arm(pc.clock.nowNs() + after);
      assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
      timer.cancel();
      const state = [...machine.ram.slice(RESULT + 64, RESULT + 96), ...machine.ram.slice(0x200000, 0x200200)];
      return {
        state: Buffer.from(state).toString('hex'),
        instructions: pc.engine.instructions - start,
        interrupts: machine.u32(RESULT),
        eip: machine.u32(RESULT + 4),
      };
    };
    const plain = attempt(-1);
    assert.equal(plain.interrupts, 0);
    const seen = new Set<number>();
    const perRound = starts.length + 1;
    const last = plain.instructions - 20 - 2 * perRound;
    let taken = 0;
    for (const from of [50, last]) {
      for (let after = from; after < from + 2 * perRound; after++) {
        const { state, interrupts, eip } = attempt(after);
        assert.equal(state, plain.state, `the interrupt after ${after} instructions shows`);
        if (interrupts === 0) continue;
        taken++;
        assert.ok(starts.includes(eip), `interrupted at ${eip.toString(16)}`);
        seen.add(eip);
      }
    }
    assert.ok(taken > 2 * perRound, `${taken} taken`);
    const never = new Set([shadowed, closed - 2, closed]);
    const expected = starts.filter((at) => !never.has(at) && at !== p.addressOf('end')).sort();
    assert.deepEqual([...seen].filter((at) => at !== p.addressOf('end')).sort(), expected);
    compiled(machine);
  });
}
