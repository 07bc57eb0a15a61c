/**
 * The page as text: markup, style and icon. Kept as TypeScript so that the built package needs no asset step.
 * Content goes in by page.ts and its modules, as text nodes only.
 */

/** `script`: path of the page's module. `verifier`: whether the verifier is served beside it. */
export const page = (script: string, verifier: boolean): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Vouch monitor</title>
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/style.css">
<script type="module" src="${script}"></script>
</head>
<body>
<header>
  <h1><img src="/icon.svg" alt="" width="24" height="24"> Vouch monitor</h1>
  <p id="connection" class="chip waiting" role="status">connecting</p>
</header>
<noscript><p class="banner bad">This page needs its script, which comes from this server and calls no other.</p></noscript>
<div role="region" aria-label="Warnings">
<p id="simulated" class="banner" hidden><strong>SIMULATED</strong> No hardware vouches for the actors that are marked so: their evidence comes from a simulated root key, or has not been accepted yet.</p>
<p id="lost" class="banner bad" role="alert" hidden></p>
</div>
<main>
  <section aria-labelledby="overview-title" class="wide">
    <h2 id="overview-title" class="unseen">Overview</h2>
    <dl id="overview"></dl>
    <ul id="attention" aria-label="Needs attention"></ul>
    <p id="calm" class="soft"></p>
    <p id="announcement" class="unseen" role="status" aria-live="polite"></p>
  </section>
  <div class="column">
    <section aria-labelledby="actors-title">
      <h2 id="actors-title">Actors</h2>
      <p id="no-actors" class="empty">No actor was heard yet. <code>npm start</code> brings up one of each kind.</p>
      <div id="actors" class="scroll" role="group" aria-labelledby="actors-title" tabindex="0" hidden></div>
      <details id="ended" hidden>
        <summary></summary>
        <div class="scroll" role="group" aria-label="Ended actors" tabindex="0"></div>
      </details>
    </section>
    <section aria-labelledby="workers-title">
      <h2 id="workers-title">Workers</h2>
      <p id="no-workers" class="empty">No worker was heard yet. <code>vouch start worker</code> adds this machine.</p>
      <div id="workers" class="scroll" role="group" aria-labelledby="workers-title" tabindex="0" hidden></div>
    </section>
  </div>
  <div class="column">
    <section aria-labelledby="jobs-title">
      <h2 id="jobs-title">Proof jobs</h2>
      <p id="no-jobs" class="empty">No proof was asked for yet. <code>vouch prove MODEL</code> asks for one.</p>
      <div id="jobs"></div>
    </section>
    <section aria-labelledby="transitions-title">
      <h2 id="transitions-title">Transitions</h2>
      <p id="no-transitions" class="empty">Nothing has changed its state yet.</p>
      <div id="transitions" class="scroll tall" role="group" aria-labelledby="transitions-title" tabindex="0" hidden></div>
    </section>
  </div>
</main>
<footer><p>What actors say of themselves, unverified. <code>vouch verify</code> checks proofs and receipts${verifier ? ', and so does <a href="/verifier.html">the verifier</a>, in your browser alone' : ''}.</p></footer>
</body>
</html>
`;

export const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="#2563a8" d="M12 1 3 4.5V11c0 5.6 3.7 10 9 12 5.3-2 9-6.4 9-12V4.5z"/><path fill="none" stroke="#fff" stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round" d="m7.5 11.8 3.2 3.3 5.8-6.6"/></svg>`;

export const style = `
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #fff; --text: #1b2230; --soft: #556070; --line: #dce0e6; --bar: #e4e8ee;
  --good: #1a6b3c; --good-back: #e0f3e7; --busy: #1d5798; --busy-back: #e2eefb;
  --bad: #a31d1d; --bad-back: #fce6e4; --warn: #7a4b00; --warn-back: #ffefcc; --fill: #2f74c0; --done: #2e8b57;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12151b; --card: #1b2029; --text: #e6e9ef; --soft: #a3adbb; --line: #2f3743; --bar: #2c3440;
    --good: #7fd6a0; --good-back: #15301f; --busy: #92c2f5; --busy-back: #17293f;
    --bad: #ff9d94; --bad-back: #3d1a19; --warn: #f4c569; --warn-back: #372a10; --fill: #4c93e0; --done: #46ae74;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body {
  margin: 0 auto; padding: 1rem clamp(.75rem, 2vw, 1.5rem); max-width: 100rem;
  background: var(--page); color: var(--text); font: 15px/1.45 system-ui, sans-serif;
}
header { display: flex; align-items: center; justify-content: space-between; gap: 1rem; margin-bottom: .75rem; }
h1 { display: flex; align-items: center; gap: .5rem; margin: 0; font-size: 1.25rem; }
h2 { margin: 0 0 .6rem; font-size: 1rem; }
p { margin: 0; }
code { font: .92em ui-monospace, 'DejaVu Sans Mono', monospace; overflow-wrap: anywhere; }
footer { margin-top: 1rem; color: var(--soft); font-size: .85rem; }
:focus-visible { outline: 2px solid var(--fill); outline-offset: 2px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
main { display: grid; grid-template-columns: minmax(0, 1.3fr) minmax(0, 1fr); gap: 1rem; align-items: start; }
.wide { grid-column: 1 / -1; }
.column { display: grid; gap: 1rem; min-width: 0; }
section:not(.wide) { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .9rem 1rem; min-width: 0; }
.banner {
  margin-bottom: .75rem; padding: .5rem .9rem; border-radius: .5rem; border: 1px solid currentColor;
  color: var(--warn); background: var(--warn-back);
}
.banner strong { margin-right: .5rem; letter-spacing: .06em; }
.banner.bad { color: var(--bad); background: var(--bad-back); }
.empty { color: var(--soft); }
#overview { display: flex; flex-wrap: wrap; gap: .6rem; margin: 0; }
#overview div { flex: 1 1 6.5rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .5rem .9rem; }
#overview dt { color: var(--soft); font-size: .85rem; }
#overview dd { margin: 0; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
#overview .bad { color: var(--bad); }
#overview .warn { color: var(--warn); }
a { color: var(--busy); }
#attention { margin: .75rem 0 0; padding: 0; list-style: none; display: grid; gap: .4rem; }
#attention:empty { display: none; }
#attention li { padding: .45rem .9rem; border: 1px solid currentColor; border-radius: .5rem; overflow-wrap: anywhere; }
#attention .bad { color: var(--bad); background: var(--bad-back); }
#attention .warn { color: var(--warn); background: var(--warn-back); }
#calm { margin-top: .5rem; }
.scroll { overflow-x: auto; }
.tall { overflow-y: auto; max-height: 34rem; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-size: .8rem; font-weight: 600; color: var(--soft); white-space: nowrap; }
thead th { position: sticky; top: 0; background: var(--card); }
th, td { padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
tr > :last-child { padding-right: 0; }
tbody tr:last-child > * { border-bottom: 0; }
tbody th { font-size: inherit; font-weight: 400; color: inherit; white-space: normal; }
td.number, th.number { text-align: right; white-space: nowrap; }
tbody code { display: inline-block; max-width: 100%; }
#actors tbody th, #ended tbody th { min-width: 7.5rem; }
#workers tbody th { min-width: 4.5rem; }
tbody td > code { min-width: 6rem; }
.soft { color: var(--soft); }
.small { font-size: .85rem; }
.nowrap { white-space: nowrap; }
.warn { color: var(--warn); }
.chip {
  display: inline-block; padding: 0 .55em; border-radius: 1em; border: 1px solid transparent;
  font-size: .85rem; line-height: 1.55; white-space: nowrap;
}
.chip.up { color: var(--good); background: var(--good-back); }
.chip.busy { color: var(--busy); background: var(--busy-back); }
.chip.failed { color: var(--bad); background: var(--bad-back); }
.chip.waiting, .chip.stopped { color: var(--soft); background: var(--bar); }
.chip.unknown { color: var(--warn); background: none; border: 1px dashed currentColor; }
.badge { display: inline-block; padding: 0 .4em; border-radius: .25em; font-size: .7rem; font-weight: 600; letter-spacing: .05em; color: var(--warn); background: var(--warn-back); }
.job { border-top: 1px solid var(--line); padding: .55rem 0; }
.job:first-child { border-top: 0; padding-top: 0; }
.job summary { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .6rem; cursor: pointer; }
.job summary::before { content: '\\25b8'; color: var(--soft); }
.job[open] > summary::before { content: '\\25be'; }
.job summary time { margin-left: auto; font-variant-numeric: tabular-nums; }
.job h3 { margin: .7rem 0 .3rem; font-size: .85rem; color: var(--soft); }
.bars { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .5rem 1rem; margin: .6rem 0 0; padding: 0; list-style: none; }
.bars li { display: grid; grid-template-columns: 1fr auto; gap: 0 .5rem; align-items: baseline; font-size: .85rem; }
.bars li > :nth-child(2) { white-space: nowrap; font-variant-numeric: tabular-nums; color: var(--soft); }
.bars li.pending { color: var(--soft); }
.bars li.failed, .bars li.failed > :nth-child(2) { color: var(--bad); }
.bars progress { grid-column: 1 / -1; }
.failure { margin-top: .6rem; color: var(--bad); overflow-wrap: anywhere; }
td .failure { margin-top: .2rem; min-width: 9rem; }
td .failure code { color: var(--soft); }
progress { appearance: none; width: 100%; height: .4rem; border: 0; border-radius: .2rem; overflow: hidden; background: var(--bar); color: var(--fill); }
progress::-webkit-progress-bar { background: var(--bar); }
progress::-webkit-progress-value { background: var(--fill); border-radius: .2rem; }
progress::-moz-progress-bar { background: var(--fill); border-radius: .2rem; }
.done progress::-webkit-progress-value { background: var(--done); }
.done progress::-moz-progress-bar { background: var(--done); }
progress:indeterminate { background: repeating-linear-gradient(-45deg, var(--fill) 0 .4rem, var(--bar) .4rem .8rem); }
progress:indeterminate::-webkit-progress-bar { background: none; }
progress:indeterminate::-moz-progress-bar { background: none; }
#ended { margin-top: .6rem; }
#ended summary { cursor: pointer; color: var(--soft); }
.lost main { filter: grayscale(1); }
@media (max-width: 60rem) { main { grid-template-columns: minmax(0, 1fr); } .tall { max-height: 24rem; } }
@media (max-width: 34rem) {
  .spare { display: none; }
  .bars { grid-template-columns: 1fr; }
  .kind { display: block; }
  th, td { padding-right: .5rem; }
  #workers { font-size: .85rem; }
  section:not(.wide) { padding: .75rem; }
}
`;
