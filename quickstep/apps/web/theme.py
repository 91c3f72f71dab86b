"""The look of the app: Streamlit's options, and the style of our HTML."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

SERIF = "'Iowan Old Style','Palatino Linotype',Palatino,'URW Palladio L',P052,Charter,Georgia,'Noto Serif','DejaVu Serif',serif"

_LIGHT = {
    "primaryColor": "#1f6f78",
    "backgroundColor": "#fbfaf6",
    "secondaryBackgroundColor": "#f1eee6",
    "textColor": "#24221e",
    "borderColor": "#dcd7cb",
    "linkColor": "#1f6f78",
    "codeBackgroundColor": "#f1eee6",
}
_DARK = {
    "primaryColor": "#5bb5be",
    "backgroundColor": "#161715",
    "secondaryBackgroundColor": "#20221f",
    "textColor": "#e9e6dd",
    "borderColor": "#3a3b35",
    "linkColor": "#5bb5be",
    "codeBackgroundColor": "#20221f",
}

OPTIONS: dict[str, Any] = {
    **{f"theme.light.{name}": value for name, value in _LIGHT.items()},
    **{f"theme.dark.{name}": value for name, value in _DARK.items()},
    "theme.headingFont": SERIF,
    "theme.baseRadius": "0.4rem",
    "theme.headingFontWeights": [600, 600, 600, 600, 600, 600],
    "client.toolbarMode": "viewer",  # light and dark can be chosen; there is no "Deploy"
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "browser.gatherUsageStats": False,
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": False,
    "server.enableAgentApi": False,
    "logger.hideWelcomeMessage": True,
    "logger.level": "error",
    "runner.magicEnabled": False,
}

# Colours for the labels of a timeline, distinct in light and dark and for colour-blind users.
HUES = (
    "light-dark(#1f6f78,#5bb5be)",
    "light-dark(#c2562d,#e88a60)",
    "light-dark(#5a5ca8,#9a9ce6)",
    "light-dark(#b0842a,#d9b050)",
    "light-dark(#86406e,#cf86b6)",
    "light-dark(#4b8440,#8cc47e)",
    "light-dark(#8a6a56,#c5a48f)",
    "light-dark(#3b78c2,#7fb2ee)",
)

STYLE = f"<style>{files('quickstep.apps.web').joinpath('style.css').read_text(encoding='utf-8').replace('SERIF', SERIF)}</style>"
