/** The verifier's page as text: markup and style around a script, all of it in one file that asks nobody for anything. */

const style = `
:root { color-scheme: light dark; --page: #f5f6f8; --card: #fff; --text: #1b2230; --soft: #556070; --line: #cfd5dd;
  --good: #1a6b3c; --bad: #a31d1d; --warn: #7a4b00; --good-back: #e0f3e7; --bad-back: #fce6e4; --warn-back: #ffefcc; --fill: #2f74c0; }
@media (prefers-color-scheme: dark) { :root { --page: #12151b; --card: #1b2029; --text: #e6e9ef; --soft: #a3adbb; --line: #2f3743;
  --good: #7fd6a0; --bad: #ff9d94; --warn: #f4c569; --good-back: #15301f; --bad-back: #3d1a19; --warn-back: #372a10; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem clamp(.75rem, 3vw, 2rem); background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; } h2 { font-size: 1.05rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
p { margin: .25rem 0; } .soft { color: var(--soft); }
:focus-visible { outline: 2px solid var(--fill); outline-offset: 2px; }
.drop { margin: 1rem 0; padding: 1.25rem; border: 2px dashed var(--line); border-radius: .6rem; background: var(--card); }
.drop.over { border-color: var(--fill); }
.drop label { display: block; margin: .4rem 0; } input[type=text] { width: 100%; max-width: 34rem; font: inherit; padding: .25rem .4rem; }
fieldset { border: 1px solid var(--line); border-radius: .5rem; margin: .75rem 0; } details > summary { cursor: pointer; }
section.verdict { background: var(--card); border: 1px solid var(--line); border-left: .5rem solid var(--bad); border-radius: .5rem; padding: .9rem 1rem; margin: 1rem 0; }
section.verdict.accept { border-left-color: var(--good); }
.word { display: inline-block; padding: .1rem .6rem; border-radius: 1em; font-weight: 700; color: var(--bad); background: var(--bad-back); }
.accept > .word { color: var(--good); background: var(--good-back); }
.banner { padding: .5rem .9rem; border: 1px solid currentColor; border-radius: .5rem; color: var(--warn); background: var(--warn-back); margin: .5rem 0; }
.banner.bad { color: var(--bad); background: var(--bad-back); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--soft); } th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); }
tbody th { font-weight: 400; min-width: 9rem; }
@media (min-width: 40rem) { tbody th { white-space: nowrap; } } td, tbody th { font-family: ui-monospace, 'DejaVu Sans Mono', monospace; font-size: .85rem; overflow-wrap: anywhere; }
tr.pass td:first-child { color: var(--good); } tr.fail td:first-child { color: var(--bad); font-weight: 700; } tr.skipped td:first-child { color: var(--warn); }
bdi { font-family: ui-monospace, 'DejaVu Sans Mono', monospace; overflow-wrap: anywhere; background: var(--page); padding: 0 .25em; border: 1px solid var(--line); }
button { font: inherit; padding: .3rem .9rem; }
@media print { body { max-width: none; font-size: 10pt; background: #fff; color: #000; } .drop, button, .noprint { display: none; }
  section.verdict { break-inside: avoid-page; } }
`;

/** The parts of the file, whose digests its policy names. `script` must not hold `</script`. */
export const verifierParts = (script: string): { readonly style: string; readonly script: string } => ({
  style,
  script,
});

/** `hashes`: of script and style, as a Content-Security-Policy names them. Nothing else runs, and nothing is asked for. */
export const verifierPolicy = (hashes: { readonly script: string; readonly style: string }): string =>
  [
    "default-src 'none'",
    // snarkjs, the second verifier of a proof, computes in WebAssembly.
    `script-src '${hashes.script}' 'wasm-unsafe-eval'`,
    `style-src '${hashes.style}'`,
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ');

export const verifierDocument = (
  parts: { readonly script: string; readonly style: string },
  policy: string,
): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Vouch verifier</title>
<style>${parts.style}</style>
</head>
<body>
<header>
<h1>Vouch verifier</h1>
<p class="soft">Checks receipts, proofs and evidence in this page. It has no connection: nothing that you open here leaves this machine.</p>
</header>
<noscript><p class="banner bad">This file needs its own script, which is inside of it.</p></noscript>
<main id="verifier"></main>
<script type="module">${parts.script}</script>
</body>
</html>
`;
