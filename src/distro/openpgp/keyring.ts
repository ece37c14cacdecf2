/**
 * Keyrings of transferable public keys: RFC 4880 section 11.1. A key may sign archive indexes when its own (or a bound
 * subkey's) flags say so, all from self-signatures that verify. User ids and certifications by others play no part: what is
 * in the keyring is trusted as such. A revocation by a designated revoker is not looked at: a keyring that its owner maintains
 * drops such a key.
 */
import { createHash } from 'node:crypto';
import { decodeArmour, type Packet, PacketTag, parsePackets, Reader } from './packets.js';
import { checkSignature, type KeyMaterial, parseKeyMaterial, parseSignature, type Signature } from './signature.js';

export interface SigningKey {
  /** 40 hexadecimal digits, upper case. */
  readonly fingerprint: string;
  readonly primaryFingerprint: string;
  readonly userId: string;
  readonly material: KeyMaterial;
  /** Seconds since 1970. */
  readonly created: number;
  /** Seconds since 1970, Infinity for never. */
  readonly expires: number;
  readonly revoked: boolean;
}

export interface Keyring {
  readonly keys: readonly SigningKey[];
}

interface RawKey {
  readonly body: Uint8Array;
  readonly fingerprint: string;
  readonly created: number;
  readonly material: KeyMaterial;
}

const signFlag = 0x02;
/** Signature types, section 5.2.1. */
const SignatureType = {
  certificationFirst: 0x10,
  certificationLast: 0x13,
  subkeyBinding: 0x18,
  primaryBinding: 0x19,
  direct: 0x1f,
  keyRevocation: 0x20,
  subkeyRevocation: 0x28,
} as const;

function parseKey(body: Uint8Array): RawKey | undefined {
  const reader = new Reader(body);
  if (reader.u8() !== 4) return undefined;
  const created = reader.u32();
  const algorithm = reader.u8();
  return {
    body,
    created,
    material: parseKeyMaterial(algorithm, reader),
    fingerprint: createHash('sha1').update(hashedKey(body)).digest('hex').toUpperCase(),
  };
}

/** A key as it enters a digest: section 5.2.4. */
function hashedKey(body: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from([0x99, (body.length >> 8) & 255, body.length & 255]), body]);
}

function hashedUserId(body: Uint8Array): Uint8Array {
  const head = Buffer.alloc(5);
  head[0] = 0xb4;
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

function isIssuedBy(signature: Signature, key: RawKey): boolean {
  if (signature.issuerFingerprint !== undefined) return signature.issuerFingerprint === key.fingerprint;
  return signature.issuerKeyId === undefined || signature.issuerKeyId === key.fingerprint.slice(24);
}

function newest(signatures: Signature[]): Signature | undefined {
  return signatures.reduce<Signature | undefined>(
    (best, each) => (best === undefined || (each.created ?? 0) >= (best.created ?? 0) ? each : best),
    undefined,
  );
}

function expiry(key: RawKey, signature: Signature): number {
  return signature.keyExpiresAfter === 0 ? Infinity : key.created + signature.keyExpiresAfter;
}

/** The signatures that follow a packet, with the packet they belong to. */
interface Component {
  readonly packet: Packet;
  readonly signatures: Signature[];
}

function usableKeys(components: Component[], nowSeconds: number): SigningKey[] {
  const primary = parseKey(components[0]!.packet.body);
  if (primary === undefined) return [];
  const primaryHashed = hashedKey(primary.body);
  const ownSignatures = (component: Component, first: number, last: number, signed: Uint8Array[]): Signature[] =>
    component.signatures.filter(
      (signature) =>
        signature.type >= first &&
        signature.type <= last &&
        signature.created !== undefined &&
        (signature.expiresAfter === 0 || signature.created + signature.expiresAfter > nowSeconds) &&
        isIssuedBy(signature, primary) &&
        checkSignature(signature, primary.material, signed) === undefined,
    );

  const revoked =
    ownSignatures(components[0]!, SignatureType.keyRevocation, SignatureType.keyRevocation, [primaryHashed]).length > 0;
  const direct = newest(ownSignatures(components[0]!, SignatureType.direct, SignatureType.direct, [primaryHashed]));
  const certifications: Signature[] = [];
  let userId = '';
  for (const component of components) {
    if (component.packet.tag !== PacketTag.userId) continue;
    const { certificationFirst: first, certificationLast: last } = SignatureType;
    const signed = [primaryHashed, hashedUserId(component.packet.body)];
    const own = ownSignatures(component, first, last, signed);
    if (own.length > 0 && userId === '') {
      userId = Buffer.from(component.packet.body)
        .toString('utf8')
        .replace(/\p{Cc}/gu, '?')
        .slice(0, 200);
    }
    certifications.push(...own);
  }
  const certification = newest(certifications);
  if (direct === undefined && certification === undefined) return [];

  const keys: SigningKey[] = [];
  // A direct signature may say no more than who else can revoke the key, and leave flags and life to the user id's.
  const primaryExpires = Math.min(
    ...[direct, certification].map((self) => (self === undefined ? Infinity : expiry(primary, self))),
  );
  const flags = direct?.keyFlags ?? certification?.keyFlags ?? signFlag;
  // A key without flags may do what its algorithm can.
  if ((flags & signFlag) !== 0) {
    const { fingerprint, material, created } = primary;
    const primaryFingerprint = fingerprint;
    keys.push({ fingerprint, primaryFingerprint, userId, material, created, expires: primaryExpires, revoked });
  }
  for (const component of components) {
    if (component.packet.tag !== PacketTag.publicSubkey) continue;
    const subkey = parseKey(component.packet.body);
    if (subkey === undefined) continue;
    const signed = [primaryHashed, hashedKey(subkey.body)];
    const { subkeyBinding, subkeyRevocation, primaryBinding } = SignatureType;
    const binding = newest(ownSignatures(component, subkeyBinding, subkeyBinding, signed));
    if (binding === undefined || ((binding.keyFlags ?? 0) & signFlag) === 0) continue;
    // The subkey must agree to being bound, or anybody could claim it as theirs.
    const back = binding.embedded;
    if (back?.type !== primaryBinding || checkSignature(back, subkey.material, signed) !== undefined) continue;
    keys.push({
      fingerprint: subkey.fingerprint,
      primaryFingerprint: primary.fingerprint,
      userId,
      material: subkey.material,
      created: subkey.created,
      expires: Math.min(primaryExpires, expiry(subkey, binding)),
      revoked: revoked || ownSignatures(component, subkeyRevocation, subkeyRevocation, signed).length > 0,
    });
  }
  return keys;
}

/** Parses a keyring, binary or armoured. Keys of other versions and keys without a valid self-signature are left out. */
export function parseKeyring(bytes: Uint8Array, nowMs: number = Date.now()): Keyring {
  const keys: SigningKey[] = [];
  let components: Component[] = [];
  const finish = (): void => {
    if (components.length > 0) keys.push(...usableKeys(components, nowMs / 1000));
    components = [];
  };
  for (const packet of parsePackets(decodeArmour(bytes, 'PUBLIC KEY BLOCK'))) {
    if (packet.tag === PacketTag.publicKey) {
      finish();
      components = [{ packet, signatures: [] }];
    } else if (components.length === 0) {
      // Trust, marker and private packets before the first key say nothing.
    } else if (packet.tag === PacketTag.signature) {
      const signature = parseSignature(packet.body);
      if (signature !== undefined) components.at(-1)!.signatures.push(signature);
    } else if (
      packet.tag === PacketTag.userId ||
      packet.tag === PacketTag.publicSubkey ||
      packet.tag === PacketTag.userAttribute
    ) {
      components.push({ packet, signatures: [] });
    }
  }
  finish();
  return { keys };
}

export function joinKeyrings(keyrings: readonly Keyring[]): Keyring {
  const byFingerprint = new Map<string, SigningKey>();
  for (const { keys } of keyrings) {
    for (const key of keys) {
      const known = byFingerprint.get(key.fingerprint);
      // A revocation known to either keyring holds; of two lives the longer one is the newer statement.
      if (known === undefined) byFingerprint.set(key.fingerprint, key);
      else {
        const expires = Math.max(known.expires, key.expires);
        byFingerprint.set(key.fingerprint, { ...known, expires, revoked: known.revoked || key.revoked });
      }
    }
  }
  return { keys: [...byFingerprint.values()] };
}
