"""The stylesheet of all views.

Colours are the page's own where gradio names them, with values to fall back on. Text keeps the
page's ink; a state is told by words and by the colour of an edge, never by colour alone.
"""

from __future__ import annotations

SERIES = ("--ms-blue", "--ms-orange", "--ms-green", "--ms-pink")
"""Colours of lines that are told apart by those who see no red or green as well."""

CSS = """
.ms {
  --ms-ink: var(--body-text-color, #1f2937);
  --ms-paper: var(--body-background-fill, #ffffff);
  --ms-panel: var(--background-fill-secondary, #f9fafb);
  --ms-line: var(--border-color-primary, #e5e7eb);
  --ms-quiet: #4b5563;
  --ms-link: #1d4ed8;
  --ms-blue: #0072b2;
  --ms-orange: #d55e00;
  --ms-green: #00805d;
  --ms-pink: #a8457f;
  --ms-alarm: #b3261e;
  --ms-unsure: #8a6100;
  color: var(--ms-ink);
  font-size: 1rem;
  line-height: 1.55;
  overflow-wrap: anywhere;
}
.dark .ms {
  --ms-ink: var(--body-text-color, #f3f4f6);
  --ms-paper: var(--body-background-fill, #0b0f19);
  --ms-panel: var(--background-fill-secondary, #111827);
  --ms-line: var(--border-color-primary, #374151);
  --ms-quiet: #aeb6c2;
  --ms-link: #93c5fd;
  --ms-blue: #56b4e9;
  --ms-orange: #f0894a;
  --ms-green: #35c79b;
  --ms-pink: #e39cc4;
  --ms-alarm: #ff8a80;
  --ms-unsure: #e6b94d;
}
.ms *, .ms *::before { box-sizing: border-box; }
.ms h3, .ms h4, .ms h5, .ms h6 {
  color: var(--ms-ink); font-weight: 600; line-height: 1.3; margin: 1.6rem 0 .5rem; padding: 0;
}
.ms h3 { font-size: 1.15rem; }
.ms h4 { font-size: 1rem; }
.ms h5, .ms h6 { font-size: .95rem; }
.ms > h3:first-child, .ms > h4:first-child { margin-top: 0; }
.ms p { margin: .4rem 0; color: inherit; font-size: inherit; }
.ms a { color: var(--ms-link); text-decoration: underline; }
.ms a:focus-visible, .ms summary:focus-visible, .ms [tabindex]:focus-visible {
  outline: 2px solid var(--ms-link); outline-offset: 2px;
}
.ms ul, .ms ol { margin: .4rem 0; padding-left: 1.25rem; }
.ms li { margin: .25rem 0; }
.ms code, .ms pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .85rem; }
.ms code { background: var(--ms-panel); border-radius: .25rem; padding: .05rem .3rem; color: inherit; }
.ms pre { color: inherit; margin: 0; }
.ms pre code { background: none; padding: 0; }
.ms .ms-quiet { color: var(--ms-quiet); }
.ms .ms-small { font-size: .875rem; }
.ms .ms-hidden {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap;
}

.ms .ms-box {
  background: var(--ms-panel); border: 1px solid var(--ms-line);
  border-left: .3rem solid var(--ms-unsure); border-radius: .5rem; padding: .8rem 1rem; margin: .75rem 0;
}
.ms .ms-box > :first-child { margin-top: 0; }
.ms .ms-box > :last-child { margin-bottom: 0; }
.ms .ms-alarm { border-left-color: var(--ms-alarm); }
.ms .ms-calm { border-left-color: var(--ms-green); }
.ms .ms-plain { border-left-color: var(--ms-blue); }
.ms .ms-verdict { font-size: 1.08rem; }
.ms .ms-reason { white-space: pre-line; }
.ms .ms-empty {
  border: 1px dashed var(--ms-line); border-radius: .5rem; padding: 1.6rem 1rem; text-align: center;
}
.ms .ms-empty strong { display: block; margin-bottom: .2rem; }

.ms .ms-scroll { overflow-x: auto; max-width: 100%; }
.ms table { border-collapse: collapse; width: 100%; margin: .4rem 0; border: 0; font-size: .9rem; }
.ms th, .ms td {
  text-align: left; vertical-align: top; padding: .45rem .9rem .45rem 0; color: inherit; background: none;
  border: 0; border-bottom: 1px solid var(--ms-line); overflow-wrap: normal; font-weight: 400;
}
.ms thead th { font-weight: 600; color: var(--ms-quiet); font-size: .85rem; white-space: nowrap; }
.ms tr > :last-child { padding-right: .3rem; }
.ms .ms-number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.ms .ms-name { min-width: 9rem; overflow-wrap: anywhere; }
.ms tr.ms-chosen > * { font-weight: 600; }
.ms .ms-tag {
  display: inline-block; border: 1px solid var(--ms-line); border-radius: 1rem; padding: 0 .55rem;
  font-size: .8rem; line-height: 1.6; white-space: nowrap; background: var(--ms-panel);
}
.ms .ms-facts { display: grid; grid-template-columns: minmax(6rem, max-content) minmax(0, 1fr); gap: .25rem 1rem; margin: .5rem 0; font-size: .9rem; }
.ms .ms-facts dt { color: var(--ms-quiet); font-weight: 400; margin: 0; }
.ms .ms-facts dd { margin: 0; }
.ms details { margin: .6rem 0; }
.ms summary { cursor: pointer; color: var(--ms-quiet); font-size: .9rem; padding: .15rem 0; }

.ms .ms-state { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem .8rem; }
.ms .ms-state h3 { margin: 0; }
.ms .ms-state::before {
  content: ""; align-self: center; flex: none; width: .7rem; height: .7rem; border-radius: 50%; background: var(--ms-quiet);
}
.ms .ms-state.ms-running::before { background: var(--ms-blue); }
.ms .ms-state.ms-done::before { background: var(--ms-green); }
.ms .ms-state.ms-failed::before { background: var(--ms-alarm); border-radius: 0; }
.ms .ms-state.ms-stopped::before { background: var(--ms-unsure); border-radius: 0; }
.ms .ms-bar { height: .8rem; border-radius: .4rem; background: var(--ms-line); overflow: hidden; margin: .7rem 0 .35rem; }
.ms .ms-bar > div { height: 100%; background: var(--ms-blue); border-radius: .4rem; }
.ms .ms-bar.ms-done > div { background: var(--ms-green); }
.ms .ms-bar.ms-unknown > div { width: 30%; animation: ms-slide 2.4s ease-in-out infinite alternate; }
@keyframes ms-slide { from { margin-left: 0; } to { margin-left: 70%; } }
.ms .ms-ends { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .1rem 1rem; font-variant-numeric: tabular-nums; }
.ms .ms-tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.2rem, 1fr)); gap: .6rem; margin: .9rem 0 0; padding: 0; }
.ms .ms-tiles > div { background: var(--ms-panel); border: 1px solid var(--ms-line); border-radius: .5rem; padding: .5rem .75rem; }
.ms .ms-tiles dt { color: var(--ms-quiet); font-size: .85rem; font-weight: 400; margin: 0; }
.ms .ms-tiles dd { margin: 0; font-size: 1.05rem; font-weight: 600; font-variant-numeric: tabular-nums; }

.ms figure { margin: 0 0 1.4rem; }
.ms .ms-title { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: baseline; gap: 0 1rem; margin-bottom: .4rem; }
.ms .ms-title h4 { margin: 0; }
.ms .ms-last { font-variant-numeric: tabular-nums; }
.ms .ms-chart { display: grid; grid-template-columns: 3.6rem minmax(0, 1fr); }
.ms .ms-y { position: relative; font-size: .75rem; color: var(--ms-quiet); font-variant-numeric: tabular-nums; }
.ms .ms-y span { position: absolute; right: .5rem; transform: translateY(50%); white-space: nowrap; line-height: 1; }
.ms .ms-plot { display: block; width: 100%; height: 10.5rem; overflow: visible; border-bottom: 1px solid var(--ms-quiet); }
.ms .ms-x { position: relative; grid-column: 2; height: 1.3rem; margin-top: .25rem; font-size: .75rem; color: var(--ms-quiet); font-variant-numeric: tabular-nums; }
.ms .ms-x span { position: absolute; transform: translateX(-50%); white-space: nowrap; line-height: 1.2; }
.ms .ms-x span:first-child:not(:only-child) { transform: translateX(-30%); }
.ms .ms-x .ms-edge { transform: translateX(-100%); }
.ms .ms-units { grid-column: 2; text-align: center; font-size: .78rem; color: var(--ms-quiet); }
.ms .ms-legend { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; list-style: none; margin: .2rem 0 0 3.6rem; padding: 0; font-size: .82rem; color: var(--ms-quiet); }
.ms .ms-legend li { display: flex; align-items: center; gap: .45rem; margin: 0; }
.ms .ms-legend svg { flex: none; width: 1.6rem; height: .8rem; }
.ms .ms-shards td, .ms .ms-shards th { vertical-align: middle; padding-top: .25rem; padding-bottom: .25rem; }
.ms .ms-shards td.ms-spark { width: 100%; min-width: 6rem; }
.ms .ms-shards th { white-space: nowrap; }
.ms .ms-spark svg { display: block; width: 100%; height: 1.7rem; overflow: visible; }

.ms img { max-width: 100%; height: auto; margin: 0; border-radius: .3rem; display: block; }
.ms figcaption { color: var(--ms-quiet); font-size: .875rem; margin-top: .3rem; }
.ms .ms-frame { border: 1px solid var(--ms-line); background: #ffffff; }
.ms .ms-strip { display: flex; gap: .8rem; overflow-x: auto; padding: .2rem .1rem .6rem; }
.ms .ms-strip figure { flex: none; margin: 0; }
.ms .ms-strip img { max-width: none; }
.ms .ms-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 1rem; margin: .6rem 0; }
.ms .ms-grid figure { margin: 0; }
.ms .ms-grid img { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--ms-panel); border: 1px solid var(--ms-line); }
.ms .ms-pairs { grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
.ms .ms-pair { display: grid; grid-template-columns: 1fr 1fr; gap: .3rem; }
.ms .ms-beyond .ms-pair img { border: 2px solid var(--ms-alarm); }
.ms .ms-clip { display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden; }

.ms .ms-steps { list-style: none; padding: 0; margin: .7rem 0; }
.ms .ms-steps li { display: grid; grid-template-columns: 1.6rem 1fr; gap: .3rem; margin: .2rem 0; color: var(--ms-quiet); }
.ms .ms-steps li[aria-current] { color: var(--ms-ink); font-weight: 600; }
.ms .ms-steps .ms-mark { text-align: center; }
.ms .ms-log { display: flex; flex-direction: column-reverse; max-height: 22rem; overflow: auto; background: var(--ms-panel); border: 1px solid var(--ms-line); border-radius: .5rem; }
.ms .ms-log pre { padding: .7rem .9rem; white-space: pre-wrap; overflow-wrap: anywhere; background: none; line-height: 1.45; }
.ms .ms-command { background: var(--ms-panel); border: 1px solid var(--ms-line); border-radius: .5rem; padding: .6rem .8rem; overflow-x: auto; white-space: pre; }
.ms .ms-card { border: 1px solid var(--ms-line); border-radius: .5rem; padding: 1rem 1.1rem; }
.ms .ms-card h4 { font-size: 1.35rem; margin-top: .2rem; }
.ms .ms-card h5 { font-size: 1.1rem; }
.ms .ms-card blockquote { border-left: .3rem solid var(--ms-line); margin: .8rem 0; padding: .1rem 0 .1rem .9rem; color: inherit; font-style: normal; }
.ms .ms-card pre { background: var(--ms-panel); border: 1px solid var(--ms-line); border-radius: .4rem; padding: .7rem .9rem; overflow-x: auto; margin: .7rem 0; }
.ms .ms-card img { display: inline-block; vertical-align: top; margin: .15rem; }
.ms .ms-problems { list-style: none; padding: 0; margin: 0; }
.ms .ms-problems li + li { margin-top: .7rem; }

@media (prefers-reduced-motion: reduce) {
  .ms *, .ms *::before { animation: none !important; transition: none !important; }
  .ms .ms-bar.ms-unknown > div { width: 100%; opacity: .35; }
}
@media (max-width: 480px) {
  .ms .ms-chart { grid-template-columns: 3rem minmax(0, 1fr); }
  .ms .ms-legend { margin-left: 3rem; }
  .ms .ms-facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .ms .ms-facts dd { margin-bottom: .5rem; }
}
"""
