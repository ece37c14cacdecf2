/** gdb's target description (GDB manual, appendix G): XML that names the registers. */
import type { DebugTarget } from './debug-target.js';

const VECTOR = `<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>\
<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>\
<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>\
<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>\
<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/>\
<field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>`;

export function describeTarget(target: DebugTarget): string {
  let xml = `<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>${target.architecture}</architecture>`;
  let feature = '';
  for (const register of target.registers) {
    if (register.feature !== feature) {
      if (feature !== '') xml += '</feature>';
      feature = register.feature;
      xml += `<feature name="${feature}">`;
      if (target.registers.some((each) => each.feature === feature && each.type === 'vec128')) xml += VECTOR;
    }
    xml += `<reg name="${register.name}" bitsize="${register.bits}" type="${register.type ?? `int${register.bits}`}"/>`;
  }
  return `${xml}</feature></target>`;
}
