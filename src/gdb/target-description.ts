/** gdb's target description (GDB manual, appendix G): XML that names the registers. */
import type { DebugTarget } from './debug-target.js';

const VECTOR = `<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>\
<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>\
<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>\
<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>\
<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/>\
<field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>`;

/** Named bits of x86's flag and control registers, in place of bare numbers (gdb prints the names of those that are set). */
const flagTypes: Readonly<Record<string, { readonly bytes: 4 | 8; readonly fields: string }>> = {
  i386_eflags: {
    bytes: 4,
    fields: 'CF:0 PF:2 AF:4 ZF:6 SF:7 TF:8 IF:9 DF:10 OF:11 IOPL:12-13 NT:14 RF:16 VM:17 AC:18 VIF:19 VIP:20 ID:21',
  },
  i386_mxcsr: {
    bytes: 4,
    fields: 'IE:0 DE:1 ZE:2 OE:3 UE:4 PE:5 DAZ:6 IM:7 DM:8 ZM:9 OM:10 UM:11 PM:12 RC:13-14 FZ:15',
  },
  x86_cr0: { bytes: 8, fields: 'PE:0 MP:1 EM:2 TS:3 ET:4 NE:5 WP:16 AM:18 NW:29 CD:30 PG:31' },
  x86_cr3: { bytes: 8, fields: 'PCID:0-11 PDBR:12-63' },
  x86_cr4: {
    bytes: 8,
    fields:
      'VME:0 PVI:1 TSD:2 DE:3 PSE:4 PAE:5 MCE:6 PGE:7 PCE:8 OSFXSR:9 OSXMMEXCPT:10 UMIP:11 LA57:12 VMXE:13 SMXE:14 FSGSBASE:16 PCIDE:17 OSXSAVE:18 SMEP:20 SMAP:21 PKE:22',
  },
  x86_efer: { bytes: 8, fields: 'SCE:0 LME:8 LMA:10 NXE:11 SVME:12 LMSLE:13 FFXSR:14 TCE:15 AIBRSE:21' },
};

function describeFlags(id: string): string {
  const { bytes, fields } = flagTypes[id];
  const rows = fields.split(' ').map((field) => {
    const [, name, start, end] = /^(\w*):(\d+)(?:-(\d+))?$/.exec(field) as unknown as string[];
    return `<field name="${name}" start="${start}" end="${end ?? start}"/>`;
  });
  return `<flags id="${id}" size="${bytes}">${rows.join('')}</flags>`;
}

export function describeTarget(target: DebugTarget): string {
  let xml = `<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>${target.architecture}</architecture>`;
  let feature = '';
  for (const register of target.registers) {
    if (register.feature !== feature) {
      if (feature !== '') xml += '</feature>';
      feature = register.feature;
      xml += `<feature name="${feature}">`;
      if (target.registers.some((each) => each.feature === feature && each.type === 'vec128')) xml += VECTOR;
      for (const { type = '' } of target.registers.filter((each) => each.feature === feature))
        if (type in flagTypes) xml += describeFlags(type);
    }
    xml += `<reg name="${register.name}" bitsize="${register.bits}" type="${register.type ?? `int${register.bits}`}"/>`;
  }
  return `${xml}</feature></target>`;
}
