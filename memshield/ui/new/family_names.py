"""How the page calls what a search of the Hub found."""

from __future__ import annotations

FAMILIES = {
    "unconditional": "without prompts",
    "stable_diffusion": "Stable Diffusion",
    "stable_diffusion_xl": "Stable Diffusion XL",
}
