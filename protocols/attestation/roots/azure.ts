/**
 * Keys that sign the ID blocks of Azure's confidential VMs on SEV-SNP, by the digest that reports state: what vouches for
 * Microsoft's paravisor there (AMD 56860, ID_KEY_DIGEST). Microsoft publishes none of them by itself; the first two are
 * those that github.com/edgelesssys/constellation accepts, the others are in reports of real VMs in the test data of
 * github.com/confidential-containers/trustee and github.com/kinvolk/azure-cvm-tooling.
 */
export const AZURE_ID_KEYS: readonly string[] = [
  '57486a447ec0f1958002a22a06b7673b9fd27d11e1c6527498056054c5fa92d23c50f9de44072760fe2b6fb89740b696',
  '0356215882a825279a85b300b0b742931d113bf7e32dde2e50ffde7ec743ca491ecdd7f336dc28a6e0b2bb57af7a44a3',
  '942fd93ebde6ea7a96efadeafc60f1c6b3d10e703b1dafd7555b92f7f3d32d0e006767648cba5b102af3d65756af4177',
  '934f68bd8ba01938eec21475c872e3a942b60c59fafc6df9e9a76ee66bc47f2d09c676f61c0315c578da26085fb13a71',
];
