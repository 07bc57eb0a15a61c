/**
 * Reads what an NVIDIA GPU (Hopper, Blackwell) or NVSwitch (LS10) answers to an attestation request: an SPDM exchange whose opaque
 * data is a list of fields, and the firmware id that the device certificate states (TCG DICE Attestation
 * Architecture). Field numbers and values: github.com/NVIDIA/nvtrust and NVIDIA/attestation-sdk. Nothing is
 * verified here.
 */
import { hex } from '../../encoding.ts';
import { messageOf, VouchError } from '../../errors.ts';
import { type Certificate, fromBase64, readPem } from '../certificate.ts';
import { childrenOf, type DerElement, expectTag, oidOf, readDer, TAG } from '../der.ts';
import { MAX_DEVICES, MAX_EVIDENCE_BYTES } from '../limits.ts';
import { createReader } from '../reader.ts';
import { hashOf } from '../signature.ts';
import { isSpdmExchange, opaqueIn, parseSpdmExchange, type SpdmExchange } from './spdm.ts';

/** ECDSA P-384: r || s, big-endian. */
const SIGNATURE_BYTES = 96;
const FWID_BYTES = 48;
const PDI_BYTES = 8;

const FIELD = {
  driverVersion: 3,
  vbiosVersion: 6,
  nvdec0Status: 11,
  chipSku: 15,
  project: 17,
  projectSku: 18,
  fwid: 20,
  protectedPcie: 21,
  switchPdis: 22,
  opaqueVersion: 34,
  chip: 35,
  featureFlag: 36,
} as const;
const ENABLED = 0xaa;
const DISABLED = 0x55;

/** `cc`: this GPU alone; `mpt`: several GPUs of one guest; `ppcie`: the same behind switches, PCIe protected */
export const GPU_MODES = ['cc', 'mpt', 'ppcie'] as const;
export type GpuMode = (typeof GPU_MODES)[number];
/** Versions of the opaque data that are lists of fields; older drivers do not state any. */
const MAX_OPAQUE_VERSION = 2;

export interface GpuReport extends SpdmExchange {
  readonly device: 'gpu';
  /** such as 550.90.07 */
  readonly driverVersion: string;
  /** such as 96.00.5E.00.01 */
  readonly vbiosVersion: string;
  /** of the board; '' where not stated */
  readonly project: string;
  readonly projectSku: string;
  readonly chipSku: string;
  /** such as GB100; '' where the driver does not state it */
  readonly chip: string;
  /** whether the first video decoder is in use; undefined = not stated */
  readonly nvdec0?: boolean;
  /** SHA-384 of the firmware, where the driver reports it */
  readonly fwid?: Uint8Array;
  readonly mode: GpuMode;
  /** device identifiers of the switches at this GPU's links, lower-case hex, each once; links that are off are left out */
  readonly switches: readonly string[];
}

/** Reads a report in binary or as hex text; throws `bad-file` or `bad-version`. */
export function parseGpuReport(bytes: Uint8Array): GpuReport {
  const what = 'GPU report';
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  const exchange = parseSpdmExchange(fromHexText(bytes) ?? bytes, SIGNATURE_BYTES, what);
  const fields = opaqueFields(exchange.opaque, what);
  const field = (type: number): Uint8Array => fields.get(type) ?? refuse(`opaque field ${type} is missing`);
  const text = (type: number, pattern: RegExp): string => {
    const value = String.fromCharCode(...field(type).subarray(0, 64)).replace(/\0*$/, '');
    return pattern.test(value) ? value : refuse(`opaque field ${type}: unexpected text`);
  };
  const label = (type: number): string => (fields.has(type) ? text(type, /^[\x20-\x7e]{0,32}$/).trim() : '');
  const flag = (type: number): boolean | undefined => {
    const value = fields.get(type);
    if (value === undefined) return undefined;
    const known = value.length === 1 && (value[0] === ENABLED || value[0] === DISABLED);
    return known ? value[0] === ENABLED : refuse(`opaque field ${type}: expected 0xaa or 0x55`);
  };
  const number = (type: number): number | undefined => {
    const value = fields.get(type);
    if (value !== undefined && (value.length === 0 || value.length > 4))
      refuse(`opaque field ${type}: expected a number`);
    return value?.reduceRight((sum, byte) => sum * 256 + byte, 0);
  };
  const vbios = field(FIELD.vbiosVersion);
  if (vbios.length !== 8) refuse('vBIOS version: expected 8 bytes');
  const fwid = fields.get(FIELD.fwid);
  if (fwid !== undefined && fwid.length !== FWID_BYTES) refuse(`FWID: expected ${FWID_BYTES} bytes`);
  const pdis = fields.get(FIELD.switchPdis) ?? new Uint8Array(0);
  if (pdis.length % PDI_BYTES !== 0) refuse(`switch PDIs: expected a multiple of ${PDI_BYTES} bytes`);
  const nvdec0 = flag(FIELD.nvdec0Status);
  const version = number(FIELD.opaqueVersion) ?? 0;
  if (version > MAX_OPAQUE_VERSION) {
    throw new VouchError('bad-version', `${what}: opaque data of version ${version} is not known`);
  }
  const mode = GPU_MODES[number(FIELD.featureFlag) ?? (flag(FIELD.protectedPcie) ? 2 : 0)];
  if (mode === undefined) return refuse('feature flag: not known');
  if (flag(FIELD.protectedPcie) !== undefined && flag(FIELD.protectedPcie) !== (mode === 'ppcie')) {
    return refuse('feature flag and protected PCIe status contradict each other');
  }
  return {
    ...exchange,
    device: 'gpu',
    driverVersion: text(FIELD.driverVersion, /^[0-9]{1,4}(?:\.[0-9]{1,4}){1,3}$/),
    // A number of four bytes and one more, each little-endian.
    vbiosVersion: [3, 2, 1, 0, 4].map((at) => hex(vbios.subarray(at, at + 1)).toUpperCase()).join('.'),
    project: label(FIELD.project),
    projectSku: label(FIELD.projectSku),
    chipSku: label(FIELD.chipSku),
    chip: label(FIELD.chip),
    ...(nvdec0 === undefined ? {} : { nvdec0 }),
    ...(fwid === undefined ? {} : { fwid }),
    mode,
    // The other way round than a switch says of itself.
    switches: identifiersIn(pdis, (pdi) => pdi.toReversed()),
  };
}

/** type -> value, each type once; throws `bad-file`. */
function opaqueFields(opaque: Uint8Array, what: string): Map<number, Uint8Array> {
  const fields = new Map<number, Uint8Array>();
  const { take, uint, left } = createReader(opaque, `${what}: opaque data`);
  while (left() > 0) {
    const type = uint(2);
    const value = take(uint(2));
    if (fields.has(type)) throw new VouchError('bad-file', `${what}: opaque field ${type}: expected it once`);
    fields.set(type, value);
  }
  return fields;
}

/** Device identifiers one after the other, each once, sorted, as hex; zeros are links that are off. */
function identifiersIn(bytes: Uint8Array, order = (pdi: Uint8Array): Uint8Array => pdi): string[] {
  const found = Array.from({ length: bytes.length / PDI_BYTES }, (_, i) =>
    hex(order(bytes.subarray(i * PDI_BYTES, (i + 1) * PDI_BYTES))),
  );
  return [...new Set(found)].filter((pdi) => !/^0*$/.test(pdi)).sort();
}

/** What an NVSwitch (LS10) answers to the same request; its fields have numbers of their own meaning. */
export interface SwitchReport extends SpdmExchange {
  readonly device: 'switch';
  /** such as 96.10.55.00.01 */
  readonly biosVersion: string;
  /** its own device identifier */
  readonly pdi: string;
  /** those of the GPUs at its ports, each once, sorted */
  readonly gpus: readonly string[];
  readonly fwid?: Uint8Array;
}

const SWITCH_FIELD = { biosVersion: 6, fwid: 20, devicePdi: 22, gpuPdis: 26 } as const;
/** GPUs at a switch's ports; their identifiers are followed by the ports' numbers, as many bytes again. */
const SWITCH_GPUS = 8;

/** Reads a switch's report in binary or as hex text; throws `bad-file` or `bad-version`. */
export function parseSwitchReport(bytes: Uint8Array): SwitchReport {
  const what = 'switch report';
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  const exchange = parseSpdmExchange(fromHexText(bytes) ?? bytes, SIGNATURE_BYTES, what);
  const fields = opaqueFields(exchange.opaque, what);
  const field = (type: number): Uint8Array => fields.get(type) ?? refuse(`opaque field ${type} is missing`);
  const biosVersion = String.fromCharCode(...field(SWITCH_FIELD.biosVersion).subarray(0, 64)).replace(
    /\0*$/,
    '',
  );
  if (!/^[0-9A-Fa-f]{2}(?:\.[0-9A-Fa-f]{2}){4}$/.test(biosVersion)) refuse('BIOS version: unexpected text');
  const pdi = field(SWITCH_FIELD.devicePdi);
  if (pdi.length !== PDI_BYTES) refuse(`device PDI: expected ${PDI_BYTES} bytes`);
  const gpus = field(SWITCH_FIELD.gpuPdis);
  if (gpus.length !== 2 * SWITCH_GPUS * PDI_BYTES)
    refuse(`GPU PDIs: expected those of ${SWITCH_GPUS} and their ports`);
  const fwid = fields.get(SWITCH_FIELD.fwid);
  if (fwid !== undefined && fwid.length !== FWID_BYTES) refuse(`FWID: expected ${FWID_BYTES} bytes`);
  return {
    ...exchange,
    device: 'switch',
    biosVersion: biosVersion.toUpperCase(),
    pdi: hex(pdi),
    gpus: identifiersIn(gpus.subarray(0, SWITCH_GPUS * PDI_BYTES)),
    ...(fwid === undefined ? {} : { fwid }),
  };
}

/**
 * Whether bytes look like a switch's report, in binary or as hex text: by the fields that it has; in one that is damaged,
 * by those before the damage, or by its BIOS version, which a GPU does not state as text.
 */
export function isSwitchReport(bytes: Uint8Array): boolean {
  const binary = fromHexText(bytes) ?? bytes;
  if (!isSpdmExchange(binary)) return false;
  const types = new Set(fieldTypes(opaqueIn(binary) ?? new Uint8Array(0)));
  if (types.has(FIELD.driverVersion)) return false;
  return types.has(SWITCH_FIELD.gpuPdis) || BIOS_TEXT.test(new TextDecoder('latin1').decode(binary));
}

const BIOS_TEXT = /(?<![0-9A-Fa-f])[0-9A-Fa-f]{2}(?:\.[0-9A-Fa-f]{2}){4}(?![0-9A-Fa-f])/;

/** Types of the fields up to the first that does not lie inside. */
function fieldTypes(opaque: Uint8Array): number[] {
  const types: number[] = [];
  for (let at = 0; at + 4 <= opaque.length; ) {
    const [low, high, short, long] = opaque.subarray(at, at + 4) as unknown as [
      number,
      number,
      number,
      number,
    ];
    at += 4 + short + 256 * long;
    if (at > opaque.length) break;
    types.push(low + 256 * high);
  }
  return types;
}

/** Hex text, in one or more lines, as bytes; undefined for anything else. */
function fromHexText(bytes: Uint8Array): Uint8Array | undefined {
  // A report starts 0x11, which is no hex digit.
  if (bytes[0] !== 0x31 || bytes.length > 3 * MAX_EVIDENCE_BYTES) return undefined;
  const text = new TextDecoder('latin1').decode(bytes).replaceAll(/[\t\n\r ]/g, '');
  if (text.length % 2 !== 0 || !/^[0-9A-Fa-f]*$/.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) =>
    Number.parseInt(text.slice(2 * i, 2 * i + 2), 16),
  );
}

/** Whether bytes look like a report of a GPU, in binary or as hex text; a damaged one of a switch does, too. */
export const isGpuReport = (bytes: Uint8Array): boolean =>
  isSpdmExchange(fromHexText(bytes) ?? bytes) && !isSwitchReport(bytes);

/** SHA-384 firmware ids: CompositeDeviceID, as Hopper uses it, and DiceTcbInfo, as Blackwell does. */
const COMPOSITE_DEVICE_ID = '2.23.133.5.4.1';
const TCB_INFO = '2.23.133.5.4.1.1';
const TCB_INFO_FWIDS = 0xa6;

/** The first firmware id in a device certificate, 48 bytes; undefined without one. Throws `bad-file`. */
export function certificateFwid({ extensions }: Certificate): Uint8Array | undefined {
  const what = 'certificate: firmware id';
  const composite = extensions.get(COMPOSITE_DEVICE_ID);
  const tcbInfo = extensions.get(TCB_INFO);
  const parts =
    (composite ?? tcbInfo) && childrenOf(readDer((composite ?? tcbInfo)!.value, what, TAG.sequence), what);
  let fwid: DerElement | undefined;
  if (composite !== undefined) fwid = parts?.[2];
  else if (tcbInfo !== undefined) {
    const list = parts?.find(({ tag }) => tag === TCB_INFO_FWIDS);
    fwid = list && childrenOf(list, what)[0];
  } else return undefined;
  const [algorithm, digest] = childrenOf(expectTag(fwid, TAG.sequence, what), what);
  const { value } = expectTag(digest, TAG.octetString, what);
  if (hashOf(oidOf(algorithm, what)) !== 'SHA-384' || value.length !== FWID_BYTES) {
    throw new VouchError('bad-file', `${what}: expected SHA-384`);
  }
  return value;
}

export interface GpuEvidence {
  readonly report: Uint8Array;
  /** DER */
  readonly certificates: readonly Uint8Array[];
}

/**
 * Reads the JSON file that NVIDIA's tools write: an array of {"evidence", "certificate"}, both base64, the
 * second of PEM. The other fields say what the report says better. Throws `bad-file`.
 */
export function parseGpuEvidenceFile(bytes: Uint8Array): GpuEvidence[] {
  const what = 'GPU evidence';
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new VouchError('bad-file', `${what}: expected JSON: ${messageOf(error)}`);
  }
  if (!Array.isArray(json) || json.length === 0 || json.length > MAX_DEVICES) {
    throw new VouchError('bad-file', `${what}: expected an array of 1 to ${MAX_DEVICES} GPUs`);
  }
  return json.map((entry: unknown) => {
    const { evidence, certificate } = Object(entry) as { evidence?: unknown; certificate?: unknown };
    if (typeof evidence !== 'string' || typeof certificate !== 'string') {
      throw new VouchError('bad-file', `${what}: expected evidence and certificate in base64`);
    }
    const pem = new TextDecoder('latin1').decode(fromBase64(certificate, what));
    return { report: fromBase64(evidence, what), certificates: readPem(pem, 'CERTIFICATE', what) };
  });
}
