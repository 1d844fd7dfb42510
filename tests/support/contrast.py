"""How well letters can be read on a colour: the contrast of the Web Content Accessibility Guidelines (WCAG)."""

from matplotlib.colors import to_rgb
from matplotlib.typing import ColorType


def contrast(first: ColorType, second: ColorType) -> float:
    """Return the contrast of two colours, 1 to 21: WCAG asks for 4.5, of large letters for 3."""
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: ColorType) -> float:
    """Return the relative luminance, 0 for black to 1 for white."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
