/**
 * Whether a document is signed by a key that the caller trusts: RFC 4880 sections 5.2.4, 7 and 11.4, with the rules of
 * apt's gpgv method: one good signature is enough, signatures by unknown keys are passed over, but a signature by a known
 * key that does not match the text condemns the document.
 */
import { VringError } from '../../base/errors.js';
import type { Keyring, SigningKey } from './keyring.js';
import { decodeArmour, malformed, PacketTag, parsePackets, splitCleartext } from './packets.js';
import { checkSignature, parseSignature, type Signature } from './signature.js';

export interface GoodSignature {
  readonly fingerprint: string;
  readonly userId: string;
  /** Seconds since 1970. */
  readonly created: number;
}

const binaryDocument = 0x00;
const textDocument = 0x01;
const signatureLimit = 64;
/** How far the signer's clock may be ahead of ours. */
const clockSkewSeconds = 86_400;

function issuerOf(signature: Signature, keyring: Keyring): SigningKey | undefined {
  return keyring.keys.find((key) =>
    signature.issuerFingerprint !== undefined
      ? key.fingerprint === signature.issuerFingerprint
      : key.fingerprint.endsWith(signature.issuerKeyId ?? 'none'),
  );
}

function date(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 10);
}

/** Why the signature does not count although its mathematics is right. */
function objection(signature: Signature, key: SigningKey, nowSeconds: number): string | undefined {
  const { created } = signature;
  if (created === undefined) return 'it does not say when it was made';
  if (created > nowSeconds + clockSkewSeconds) return `it is dated ${date(created)}, which is in the future`;
  if (created < key.created) return 'it is older than its key';
  if (signature.expiresAfter !== 0 && created + signature.expiresAfter < nowSeconds) {
    return `it expired on ${date(created + signature.expiresAfter)}`;
  }
  if (key.revoked) return 'its key has been revoked';
  if (key.expires < nowSeconds) return `its key expired on ${date(key.expires)}`;
  return undefined;
}

function judge(
  packets: Uint8Array,
  keyring: Keyring,
  nowMs: number,
  signed: (signature: Signature) => Uint8Array | undefined,
): GoodSignature[] {
  const good: GoodSignature[] = [];
  const problems: string[] = [];
  let count = 0;
  for (const packet of parsePackets(packets)) {
    if (packet.tag !== PacketTag.signature)
      throw malformed(`packet type ${packet.tag} stands where a signature should`);
    if (++count > signatureLimit) throw malformed(`it has more than ${signatureLimit} signatures`);
    const signature = parseSignature(packet.body);
    if (signature === undefined) {
      problems.push(`a signature is of packet version ${packet.body[0]}, which vring does not verify`);
      continue;
    }
    const name = signature.issuerFingerprint ?? signature.issuerKeyId ?? 'an unnamed key';
    const document = signed(signature);
    if (document === undefined) {
      problems.push(`the signature by ${name} is not made on a document`);
      continue;
    }
    const key = issuerOf(signature, keyring);
    if (key === undefined) {
      problems.push(`${name} is not in the keyring`);
      continue;
    }
    const wrong = checkSignature(signature, key.material, [document]);
    if (wrong === 'it does not match the text') {
      throw new VringError('signature-bad', `The signature by ${key.userId || name} does not match the text.`);
    }
    const problem = wrong ?? objection(signature, key, nowMs / 1000);
    if (problem !== undefined) problems.push(`the signature by ${key.userId || name} does not count: ${problem}`);
    else good.push({ fingerprint: key.fingerprint, userId: key.userId, created: signature.created! });
  }
  if (good.length > 0) return good;
  const why = problems.length > 0 ? problems.slice(0, 5).join('; ') : 'it has no signature at all';
  throw new VringError('signature-untrusted', `No trusted signature: ${why}.`);
}

/**
 * Verifies a cleartext-signed document such as InRelease and returns its text (LF line ends), which is what was signed and
 * nothing else. Throws VringError: `signature-bad`, `signature-untrusted`, `openpgp-malformed`.
 */
export function verifyCleartext(
  document: Uint8Array,
  keyring: Keyring,
  nowMs: number = Date.now(),
): { text: string; signatures: GoodSignature[] } {
  const { canonical, text, signatures } = splitCleartext(document);
  const good = judge(signatures, keyring, nowMs, ({ type }) => (type === textDocument ? canonical : undefined));
  return { text, signatures: good };
}

/** Line ends to CRLF, as a text-document signature is made: section 5.2.4. */
function canonicalText(document: Uint8Array): Uint8Array {
  return Buffer.from(Buffer.from(document).toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1');
}

/** Verifies a detached signature, armoured or binary, such as Release.gpg. Throws as verifyCleartext does. */
export function verifyDetached(
  document: Uint8Array,
  signature: Uint8Array,
  keyring: Keyring,
  nowMs: number = Date.now(),
): GoodSignature[] {
  return judge(decodeArmour(signature, 'SIGNATURE'), keyring, nowMs, ({ type }) =>
    type === binaryDocument ? document : type === textDocument ? canonicalText(document) : undefined,
  );
}
