"""The page's look: system fonts, quiet colours, one column; light and dark."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

_WIDGETS = Path(__file__).with_name("widgets")
VIEW_CSS = (_WIDGETS / "style.css").read_text(encoding="utf-8")
"""The stylesheet of the views; all its rules are below the class `ms`."""
_TRAY_CSS = (Path(__file__).with_name("new") / "tray.css").read_text(encoding="utf-8")
_SCRIPT = (_WIDGETS / "problems.js").read_text(encoding="utf-8")

# A theme has one accent for light and dark, which is too faint on dark.
COLUMN = """
.dark .gradio-container { --color-accent: var(--primary-400); }
.gradio-container { max-width: 56rem !important; margin: 0 auto !important; width: 100%;
  overflow: clip !important; }
.gradio-container .prose p, .gradio-container .prose li { max-width: 42rem; }
.gradio-container .cm-editor { max-width: 100%; }
.gradio-container .cm-scroller { overflow: hidden; }
.gradio-container .cm-content { white-space: pre-wrap; word-break: break-word; }
.gradio-container :is(.block, .column > .column, .tabitem > .column) { min-width: 0 !important; }
.gradio-container .block:has(> .html-container > .prose:empty) { display: none; }
.gradio-container .ms :is(table, tr, td, th) { border-left: 0; border-right: 0; }
.gradio-container .ms table { border-top: 0; border-bottom: 0; }
.gradio-container .ms-slot:not(:has(.ms)):not(:has(.wrap:not(.hide))) { display: none; }
.gradio-container .ms-field:not(:has(input, textarea, button)):not(:has(.ms)) { display: none; }
.gradio-container .progress-text { color: var(--body-text-color); }
.gradio-container #about-kind { overflow: visible !important; }
.gradio-container .ms-search { align-self: center; }
.gradio-container .ms-field { gap: 0.25rem; }
.gradio-container .ms-list .wrap { flex-direction: column; gap: 0.25rem; max-height: 18rem;
  overflow-y: auto; flex-wrap: nowrap; }
@media (max-width: 480px) {
  .row > .form { flex-direction: column; }
  .tab-container > button { padding: 0 0.45rem; }
}
.gradio-container :is(button, a, [tabindex], textarea):focus-visible,
.gradio-container input:not([type=radio], [type=checkbox]):focus-visible,
.gradio-container label:has(:is([type=radio], [type=checkbox]):focus-visible) {
  outline: 2px solid var(--color-accent) !important; outline-offset: 2px; }
.gradio-container .ms-way { border: 1px solid var(--border-color-primary); border-radius: 0.6rem;
  padding: 1rem; gap: 0.6rem; background: var(--background-fill-primary); }
.gradio-container .ms-way > .block { flex-grow: 1; }
.gradio-container .ms-way > button { flex: none !important; }
.gradio-container :is(.ms-way, #start-bar, #runs, #strength-meaning, #cost, #right-to-jobs)
  .html-container { padding: 0; }
.gradio-container #runs li { max-width: none; }
.gradio-container #strength-meaning p { font-size: 0.9rem; }
.gradio-container #start-bar { position: sticky; bottom: 0; padding: 0.7rem 0;
  z-index: var(--layer-5); background: var(--body-background-fill);
  border-top: 1px solid var(--border-color-primary); }
.gradio-container #start-bar .row { align-items: center; }
.gradio-container #start-bar .ms-alarm { margin: 0; max-height: 30vh; overflow: auto; }
html { scroll-padding-bottom: 6rem; }
html:has(#problems section:not([hidden])) { scroll-padding-bottom: 14rem; }
footer { opacity: 0.8; }
#head h1 { margin: 0.4rem 0 0; font-size: 1.6rem; }
#head p { margin: 0.2rem 0 0; }
"""
CSS = VIEW_CSS + _TRAY_CSS + COLUMN
HEAD = f"<script>{_SCRIPT}</script>"


def theme() -> gr.themes.Base:
    """gradio's plain theme with fonts of the reader's machine, so that nothing is fetched."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    return gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="slate",
        font=fonts,
        font_mono=mono,
        radius_size="md",
    ).set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_text_color="white",
        button_cancel_background_fill="#b3261e",
        button_cancel_background_fill_dark="#b3261e",
        button_cancel_background_fill_hover="#8f1d17",
        button_cancel_background_fill_hover_dark="#8f1d17",
        button_cancel_text_color="white",
        button_cancel_text_color_dark="white",
        color_accent="*primary_600",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
    )
