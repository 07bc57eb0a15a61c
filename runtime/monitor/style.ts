/** The style of the pages, in light and dark, from 390 px on. Kept as TypeScript so that the built package needs no asset step. */

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
header { display: flex; align-items: center; gap: .5rem 1rem; margin-bottom: .75rem; }
h1 { display: flex; align-items: center; gap: .5rem; margin: 0; font-size: 1.25rem; }
h2 { margin: 0 0 .6rem; font-size: 1rem; }
p { margin: 0; }
code { font: .92em ui-monospace, 'DejaVu Sans Mono', monospace; overflow-wrap: anywhere; }
footer { margin-top: 1rem; color: var(--soft); font-size: .85rem; }
:focus-visible { outline: 2px solid var(--fill); outline-offset: 2px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
header { flex-wrap: wrap; }
nav { display: flex; flex-wrap: wrap; gap: .25rem; margin-right: auto; }
nav a { padding: .2rem .7rem; border-radius: 1em; color: var(--text); text-decoration: none; }
nav a:hover { background: var(--bar); }
nav a[aria-current] { background: var(--busy-back); color: var(--busy); font-weight: 600; }
h2[tabindex]:focus { outline: none; }
.page { display: grid; gap: 1rem; min-width: 0; }
.page > * { min-width: 0; }
.page > h2 { font-size: 1.15rem; margin: 0; overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .9rem 1rem; min-width: 0; }
.card h3 { margin: .9rem 0 .35rem; font-size: .9rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); gap: 1rem; }
.chart { margin: 0; min-width: 0; }
.chart figcaption { font-size: .85rem; color: var(--soft); }
.chart figcaption strong { display: block; color: var(--text); }
.plot { min-height: 150px; overflow: hidden; }
summary { cursor: pointer; color: var(--soft); }
ul.actors { list-style: none; margin: 0; padding: 0; display: grid; gap: .2rem; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.command { display: inline-flex; flex-wrap: wrap; align-items: center; gap: .4rem; }
.command code { background: var(--page); border: 1px solid var(--line); border-radius: .3rem; padding: .1rem .4rem; }
button, select, input { font: inherit; color: var(--text); background: var(--page); border: 1px solid var(--soft); border-radius: .35rem; padding: .15rem .6rem; }
input[type=file] { max-width: 100%; border: 0; padding: 0; background: none; }
label { display: inline-block; margin: 0 .8rem .4rem 0; }
svg text { font: 12px system-ui, sans-serif; fill: var(--text); }
svg .soft { fill: var(--soft); }
.gantt, .machine { display: block; width: 100%; height: auto; }
.machine { max-width: 30rem; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem; align-items: start; }
.gantt .phase { fill: var(--soft); opacity: .55; }
.gantt .now { fill: var(--fill); }
.gantt .done { fill: var(--done); }
.gantt .held { fill: var(--fill); }
.gantt .refused, .gantt .lost { fill: var(--bad); }
.gantt .dropped { fill: var(--bar); stroke: var(--soft); }
.gantt .copy { stroke: var(--text); stroke-dasharray: 2 2; }
.gantt line { stroke: var(--line); }
.gantt .predicted { stroke: var(--text); stroke-width: 1.5; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .3rem 0 0; padding: 0; list-style: none; font-size: .85rem; color: var(--soft); }
.key li::before, .cells i { content: ''; display: inline-block; width: .7em; height: .7em; margin-right: .35em; border-radius: .15em; vertical-align: -.05em; }
.key .done::before, .cells .done { background: var(--done); } .key .held::before, .cells .held { background: var(--fill); }
.key .again::before, .cells .refused, .cells .lost { background: var(--bad); }
.key .dropped::before, .cells .dropped { background: var(--bar); outline: 1px solid var(--soft); outline-offset: -1px; }
.key .copy::before { outline: 1px dashed var(--text); outline-offset: -1px; } .cells .copy { outline: 1px dashed var(--text); outline-offset: -1px; }
.key .predicted::before { width: 2px; background: var(--text); }
.cells { display: flex; flex-wrap: wrap; gap: 2px; max-width: 24rem; } .cells i { margin: 0; }
.machine rect { fill: var(--page); stroke: var(--soft); }
.machine .state.current rect { fill: var(--busy-back); stroke: var(--fill); stroke-width: 2.5; }
.machine .state.current text { font-weight: 700; }
.machine .state.failed.current rect { fill: var(--bad-back); stroke: var(--bad); }
.machine .state.start rect { stroke-width: 2; } .machine .state.over rect { stroke-dasharray: 4 3; }
.machine path { fill: none; stroke: var(--line); stroke-width: 1.2; }
.machine path.next { stroke: var(--soft); } .machine path.came { stroke: var(--fill); stroke-width: 2.5; }
.machine marker path { fill: var(--soft); stroke: none; } .machine marker.lit path { fill: var(--fill); }
.graph { display: block; width: 100%; max-width: 34rem; height: auto; }
.graph .box { fill: var(--page); stroke: var(--soft); } .graph .share { fill: var(--fill); }
.graph path { fill: none; stroke: var(--soft); } .graph .kind { font-weight: 700; } .graph .soft { font-size: 11px; }
.banner.simulated { border-width: 2px; border-style: dashed; }
.stamp { display: inline-block; padding: .1rem .6rem; border: 2px dashed currentColor; border-radius: .3rem; font-weight: 700; letter-spacing: .08em; color: var(--warn); background: var(--warn-back); }
.word { display: inline-block; padding: .05rem .6rem; border-radius: 1em; font-weight: 700; color: var(--bad); background: var(--bad-back); }
.word.accept { color: var(--good); background: var(--good-back); }
tr:is(.pass, .fail, .skipped) th { min-width: 12.5rem; }
tr.pass td.came { color: var(--good); } tr.fail td.came { color: var(--bad); font-weight: 700; } tr.skipped td.came { color: var(--soft); }
.drop { padding: .9rem; border: 2px dashed var(--line); border-radius: .6rem; } .drop.over { border-color: var(--fill); }
bdi { overflow-wrap: anywhere; font-family: ui-monospace, 'DejaVu Sans Mono', monospace; font-size: .92em; }
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
/* Hundreds of rows: with fixed columns a cell that changes moves no other. */
#actors table, #nodes table { table-layout: fixed; }
#actors th:first-child { width: 28%; max-width: 14rem; } #actors th:last-child { width: 7rem; }
#nodes table { min-width: 51rem; font-size: .92rem; } #nodes th { width: 8%; }
#nodes th:first-child { width: 15%; } #nodes th:nth-child(2), #nodes th:nth-child(4) { width: 13%; } #nodes th:nth-child(5), #nodes th:nth-child(6) { width: 7%; } #nodes th:nth-child(7), #nodes th:nth-child(8) { width: 12%; }
.card { contain: layout style; }
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
.badge { display: inline-block; margin-left: .3em; padding: 0 .4em; border-radius: .25em; font-size: .7rem; font-weight: 600; letter-spacing: .05em; color: var(--warn); background: var(--warn-back); }
.failure { margin-top: .6rem; color: var(--bad); overflow-wrap: anywhere; }
td .failure { margin-top: .2rem; min-width: 9rem; }
td .failure code { color: var(--soft); }
progress { appearance: none; width: 6rem; max-width: 100%; height: .4rem; border: 0; border-radius: .2rem; overflow: hidden; background: var(--bar); color: var(--fill); }
progress::-webkit-progress-bar { background: var(--bar); }
progress::-webkit-progress-value { background: var(--fill); border-radius: .2rem; }
progress::-moz-progress-bar { background: var(--fill); border-radius: .2rem; }
.lost main { filter: grayscale(1); }
@media (max-width: 34rem) {
  .spare { display: none; }
  tr:is(.pass, .fail, .skipped) th { min-width: 8rem; }
  #connection { margin-left: auto; }
  nav { order: 3; width: 100%; margin: 0; } nav a { padding: .2rem .5rem; font-size: .9rem; }
  th, td { padding-right: .5rem; }
  .card { padding: .75rem; }
  .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: .4rem; }
}
`;
