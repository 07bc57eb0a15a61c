/**
 * Roots of NVIDIA, as data: the device identity root that GPUs' certificate chains end in, and the root of
 * those who sign reference integrity manifests (github.com/NVIDIA/nvtrust, verifier_device_root.pem and
 * verifier_RIM_root.pem). Trusted by fingerprint; the second is here in full for manifests that leave it out.
 */

/** SHA-256 of the DER of "NVIDIA Device Identity CA". */
export const NVIDIA_DEVICE_ROOTS: readonly string[] = [
  '102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48',
];

/** SHA-256 of the DER of "NVIDIA CoRIM signing Root CA". */
export const NVIDIA_RIM_ROOTS: readonly string[] = [
  '12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1',
];

/** Base64 of DER, with line breaks. */
export const NVIDIA_RIM_ROOT_CERTIFICATE = `
MIICKTCCAbCgAwIBAgIQRdrjoA5QN73fh1N17LXicDAKBggqhkjOPQQDAzBFMQswCQYDVQQGEwJVUzEPMA0GA1UECgwGTlZJ
RElBMSUwIwYDVQQDDBxOVklESUEgQ29SSU0gc2lnbmluZyBSb290IENBMCAXDTIzMDMxNjE1MzczNFoYDzIwNTMwMzA4MTUz
NzM0WjBFMQswCQYDVQQGEwJVUzEPMA0GA1UECgwGTlZJRElBMSUwIwYDVQQDDBxOVklESUEgQ29SSU0gc2lnbmluZyBSb290
IENBMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEuECyi9vNM+Iw2lfUzyBldHAwaC1HF7TCgp12QcEyUTm3Tagxwr48d55+K2VI
lWYIDk7NlAIQdcV/Ff7euGLI+Qauj93HsSI4WX298PpW54RTgz9tC+Q684caR/BXWEeZo2MwYTAdBgNVHQ4EFgQUpaXrOPK4
ZDAk08DBskn594zeZjAwHwYDVR0jBBgwFoAUpaXrOPK4ZDAk08DBskn594zeZjAwDwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8B
Af8EBAMCAQYwCgYIKoZIzj0EAwMDZwAwZAIwHGDyscDP6ihHqRvZlI3eqZ4YkvjE1duaN84tAHRVgxVMvNrp5Tnom3idHYGW
/dskAjATvjIx6VzHm/4e2GiZAyZEIUBDOKPzp5ei/A0iUZpdvngenDwV8Qa/wGdiTmJ7Bp4=`;
