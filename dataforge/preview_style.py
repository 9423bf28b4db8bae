"""How the page of a preview looks: on paper, in the dark, and without colours."""

CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1b1b; --quiet: #575757; --line: #8a8a8a; --edge: #bdbdbd;
  --trained: #0b4a1e; --trained-paper: #dcf2e1; --sign: #8a3d00; --bar: #2f6f9f;
  --alone: #5b3600; --alone-paper: #fbe3b0; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181b; --ink: #e6e6e6; --quiet: #aab2b9; --line: #7c858d; --edge: #4d555c;
    --trained: #b6f0c5; --trained-paper: #15371f; --sign: #ffb877; --bar: #6fb1e0;
    --alone: #ffdf9e; --alone-paper: #4a3206; } }
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --quiet: #444; --line: #777; --edge: #aaa;
    --trained: #0b4a1e; --trained-paper: #dcf2e1; --sign: #7a3600; --bar: #2f6f9f;
    --alone: #5b3600; --alone-paper: #fbe3b0; }
  .head, h2, h3, h4, tr, svg { break-inside: avoid; } h2, h3, h4, .head { break-after: avoid; } }
body { max-width: 70rem; margin: 0 auto; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1, h2, h3, h4 { line-height: 1.25; } h2 { margin-top: 2.5rem; } h3 { margin: 2rem 0 .25rem; }
h4 { margin: 0; font-size: 1rem; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td { padding: .2rem .7rem; border: 1px solid var(--edge); text-align: start; vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
.text { white-space: pre-wrap; unicode-bidi: plaintext; }
.quiet { color: var(--quiet); }
code, .tokens { font-family: ui-monospace, monospace; }
.row { margin: 1rem 0; border: 2px solid var(--line); }
.head { padding: .3rem .7rem; border-bottom: 1px solid var(--line); }
.tokens { white-space: pre-wrap; tab-size: 4; line-height: 1.9; } .row .tokens { padding: .5rem .7rem; }
.tokens span { border-left: 1px solid var(--edge); unicode-bidi: isolate; }
.tokens .t { background: var(--trained-paper); color: var(--trained);
  text-decoration: underline 2px; text-decoration-skip-ink: none; text-underline-offset: .2em; }
.tokens .d { background: var(--alone-paper); color: var(--alone); font-weight: bold; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; } .sides .row { margin: 0; min-width: 0; }
@media (max-width: 45rem) { .sides { grid-template-columns: 1fr; } }
.tokens span:hover { outline: 2px solid var(--bar); }
caption { text-align: start; }
i, b { color: var(--sign); font-style: normal; } .code { border: 1px dotted; font-size: .85em; }
svg { width: 100%; max-width: 42rem; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
rect { fill: var(--bar); } line { stroke: var(--line); }
"""
