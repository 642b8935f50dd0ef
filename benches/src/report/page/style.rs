//! The style of pages: light or dark as the reader has it, nothing from elsewhere.

/// Of the report's page.
pub const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fff; --card: #f6f8fa; --ink: #1b1f24; --faint: #5d6673;
  --line: #dde1e7; --good: #15743a; --bad: #b91c1c; --limit: #b91c1c;
  --c0: #0b62c4; --c1: #c2410c; --c2: #15803d; --c3: #7c3aed; --c4: #a16207;
  --c5: #b91c5c; --c6: #0e7490; --c7: #4b5563; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171c; --card: #1b2027; --ink: #e6e8eb; --faint: #9aa3af; --line: #343b46;
    --good: #4ade80; --bad: #fb7185; --limit: #fb7185;
    --c0: #60a5fa; --c1: #fb923c; --c2: #4ade80; --c3: #c4a7ff; --c4: #facc15;
    --c5: #f472b6; --c6: #22d3ee; --c7: #b6bfca; } }
* { box-sizing: border-box; }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  margin: 0 auto; max-width: 74rem; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; letter-spacing: -.01em; line-height: 1.2; margin: 0 0 .3rem; }
h2 { border-top: 1px solid var(--line); font-size: 1.25rem; margin: 2.6rem 0 .2rem;
  padding-top: 1.4rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p { margin: .3rem 0 .8rem; max-width: 48rem; } .faint, small { color: var(--faint); }
code { background: var(--card); border-radius: 4px; font-size: .88em; padding: .1em .35em; }
.facts { color: var(--faint); display: grid; font-size: .87rem; gap: .1rem 1.6rem; margin: 1rem 0;
  grid-template-columns: max-content 1fr max-content 1fr; }
.facts dt { font-weight: 600; } .facts dd { color: var(--ink); margin: 0; overflow-wrap: anywhere; }
@media (max-width: 46rem) { .facts { grid-template-columns: max-content 1fr; } }
.tiles { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr));
  margin: 1.2rem 0 1.4rem; }
.tile { background: var(--card); border-radius: 10px; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.7rem; font-variant-numeric: tabular-nums; line-height: 1.2; }
.tile.good b { color: var(--good); } .tile.bad b { color: var(--bad); }
.banner { border: 1px solid var(--bad); border-radius: 8px; color: var(--bad); padding: .5rem .9rem; }
.legend { margin: .6rem 0; }
.legend span { display: inline-block; margin-right: 1.1rem; white-space: nowrap; }
.legend svg { display: inline-block; height: 14px; margin-right: .35rem; vertical-align: -2px;
  width: 34px; }
.plots { display: grid; gap: 1.4rem 1.8rem; margin-top: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); }
figure { margin: 0; min-width: 0; } figcaption { font-size: .95rem; font-weight: 600; }
svg { display: block; height: auto; width: 100%; }
svg text { fill: var(--ink); font: 11.5px system-ui, sans-serif; }
svg .faint { fill: var(--faint); } svg .name { fill: var(--faint); font-size: 12px; }
svg .strong { font-weight: 650; }
svg .axis { stroke: var(--line); } svg .span { stroke: var(--faint); stroke-opacity: .45; }
svg .limit { stroke: var(--limit); stroke-dasharray: 5 3; stroke-width: 1.6; }
svg .limit-name { fill: var(--limit); font-weight: 600; }
svg .curve { fill: none; stroke-width: 1.7; } svg .curve.ours { stroke-width: 2.6; }
svg .dash1 { stroke-dasharray: 7 3; } svg .dash2 { stroke-dasharray: 2 3; }
svg .dash3 { stroke-dasharray: 9 3 2 3; } svg .dash4 { stroke-dasharray: 4 2; }
svg .dash5 { stroke-dasharray: 12 4; }
.mark { display: inline-block; height: 10px; width: 10px; }
.spark { height: 24px; width: 140px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th { color: var(--faint); font-weight: 600; }
td, th { border-bottom: 1px solid var(--line); padding: .22rem .7rem; text-align: right;
  white-space: nowrap; }
td:first-child, th:first-child { padding-left: 0; text-align: left; }
td.text, th.text { text-align: left; }
td.ours { font-weight: 650; } .won { color: var(--good); } .lost { color: var(--bad); font-weight: 650; }
.head { font-size: .95rem; width: 100%; } .head td { padding-bottom: .35rem; padding-top: .35rem; }
.meter { background: var(--line); border-radius: 3px; display: inline-block; height: 8px;
  position: relative; vertical-align: 1px; width: 9rem; }
.meter i { background: var(--good); border-radius: 3px; height: 8px; position: absolute; }
.meter i.lost { background: var(--bad); } .meter u { background: var(--ink); height: 14px; left: 50%;
  position: absolute; top: -3px; width: 1px; }
details { margin-top: 1rem; } summary { color: var(--faint); cursor: pointer; }
ul { max-width: 48rem; padding-left: 1.2rem; } li { margin: .2rem 0; }
";
