/**
 * The page as text: markup and icon. Kept as TypeScript so that the built package needs no asset step. Content goes in by
 * page.ts, as text nodes only.
 */

/** `verifier`: whether the verifier is served beside it. */
export const page = (verifier: boolean): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Vouch monitor</title>
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/chart.css">
<link rel="stylesheet" href="/style.css">
<script type="module" src="/page.js"></script>
</head>
<body>
<div id="monitor"></div>
<noscript><p class="banner bad">This page needs its script, which comes from this server and calls no other.</p></noscript>
<footer><p>What actors say of themselves, unverified. <code>vouch verify</code> checks proofs and receipts${verifier ? ', and so does <a href="/verifier.html">the verifier</a>, in your browser alone' : ''}.</p></footer>
</body>
</html>
`;

export const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="#2563a8" d="M12 1 3 4.5V11c0 5.6 3.7 10 9 12 5.3-2 9-6.4 9-12V4.5z"/><path fill="none" stroke="#fff" stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round" d="m7.5 11.8 3.2 3.3 5.8-6.6"/></svg>`;
