"""What the page looks like: a few rules over the library's own, for light and dark, wide and narrow."""

from __future__ import annotations

CSS = """
:root { --as-muted: #57606a; --as-line: #d0d7de; --as-card: #fff; --as-back: #f6f8fa; --as-accent: #1f6feb;
        --as-band: #b6d0f7; --as-bad: #b42318; --as-bad-back: #fdecea; --as-text: #1f2328; }
.body--dark { --as-muted: #9aa4af; --as-line: #30363d; --as-card: #161b22; --as-back: #0d1117; --as-accent: #58a6ff;
        --as-band: #1d4a80; --as-bad: #ffb4a9; --as-bad-back: #3a1512; --as-text: #e6edf3; }
body, .body--dark { background: var(--as-back) !important; color: var(--as-text); }
.nicegui-content { padding: 0 !important; display: block !important; }
.as-head { padding: 14px 24px; border-bottom: 1px solid var(--as-line); background: var(--as-card);
        display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; }
.as-head h1 { font-size: 20px; line-height: 1.3; margin: 0; font-weight: 600; }
.as-head p { margin: 0; color: var(--as-muted); }
.as-page { display: grid; grid-template-columns: 360px minmax(0, 1fr); gap: 20px; max-width: 1440px; margin: 0 auto;
        padding: 20px 24px; box-sizing: border-box; width: 100%; align-items: start; }
.as-card { background: var(--as-card); border: 1px solid var(--as-line); border-radius: 8px; padding: 14px 16px;
        min-width: 0; display: block; }
.as-column { display: grid; gap: 16px; min-width: 0; grid-template-columns: minmax(0, 1fr); }
.as-card h2, .as-page h2 { font-size: 14px; line-height: 1.3; margin: 0 0 8px; font-weight: 600; }
.as-figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 12px; }
.as-figure .as-value { font-size: 28px; line-height: 1.2; font-weight: 600; font-variant-numeric: tabular-nums; }
.as-figure .as-note { color: var(--as-muted); font-size: 13px; line-height: 1.4; overflow-wrap: anywhere; }
.as-figure .as-bad { color: var(--as-bad); font-weight: 600; }
.as-bar { position: relative; height: 8px; border-radius: 4px; background: var(--as-line); margin: 8px 0;
        overflow: hidden; }
.as-bar > div { position: absolute; top: 0; bottom: 0; }
.as-span { background: var(--as-band); }
.as-fill, .as-mark { background: var(--as-accent); }
.as-over .as-fill { background: var(--as-bad); }
.as-refusal { background: var(--as-bad-back); border: 1px solid var(--as-bad); color: var(--as-text);
        border-radius: 8px; padding: 12px 16px; overflow-wrap: anywhere; }
.as-refusal h2 { margin: 0 0 4px; font-size: 15px; line-height: 1.3; font-weight: 600; color: var(--as-bad); }
.as-stale { opacity: .35; }
.as-knob { width: 100%; display: grid; grid-template-columns: minmax(0, 1fr) 96px; gap: 0 14px; align-items: center; }
.as-knob .as-name { grid-column: 1 / 3; font-size: 13px; color: var(--as-muted); margin-bottom: -4px; }
.as-knob .as-alone { grid-column: 2; }
.as-pair { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 8px 12px; }
.as-strip { display: none; position: sticky; top: 0; z-index: 5; gap: 4px 14px; flex-wrap: wrap; padding: 8px 12px;
        background: var(--as-card); border-bottom: 1px solid var(--as-line); font-weight: 600;
        font-variant-numeric: tabular-nums; }
.as-muted { color: var(--as-muted); font-size: 13px; }
.as-scroll { overflow-x: auto; }
.as-scroll table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
.as-scroll th, .as-scroll td { text-align: right; padding: 4px 8px; border-bottom: 1px solid var(--as-line);
        white-space: nowrap; }
.as-scroll th:first-child, .as-scroll td:first-child { text-align: left; padding-left: 0; }
.as-scroll th { color: var(--as-muted); font-weight: 500; }
.as-command { margin: 0; padding: 10px 12px; background: var(--as-back); border: 1px solid var(--as-line);
        border-radius: 6px; font: 12.5px/1.5 ui-monospace, monospace; white-space: pre;
        max-height: 340px; overflow: auto; }
:focus-visible { outline: 2px solid var(--as-accent); outline-offset: 2px; }
@media (max-width: 900px) {
  .as-page { grid-template-columns: minmax(0, 1fr); padding: 12px; gap: 12px; }
  .as-head { padding: 10px 12px; }
  .as-strip { display: flex; }
  .as-figures { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 8px; }
  .as-figure { padding: 10px 12px; }
  .as-figure .as-value { font-size: 22px; }
}
"""
