"""Draw a terminal recording as an SVG: ``script -qec "ibloop demo --once" FILE``, then this.

    python docs/picture.py FILE > docs/images/demo.svg

The picture in the README is made so: it is the demo's real output.
"""

import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS = 104
# Rich's own frame fetches a font from elsewhere; any monospaced one will do.
FRAME = """<svg class="rich-terminal" viewBox="0 0 {width} {height}"
 xmlns="http://www.w3.org/2000/svg" role="img" aria-label="The demo on a terminal">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
 font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def picture(recording: str) -> str:
    """Return the SVG of what ``script`` recorded, without its own first and last line."""
    said = re.sub(r"^Script (started|done).*$", "", recording.replace("\r", ""), flags=re.M)
    console = Console(record=True, width=COLUMNS, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(Text.from_ansi(said.strip("\n")))
    return console.export_svg(title="ibloop demo", theme=MONOKAI, code_format=FRAME)


if __name__ == "__main__":
    sys.stdout.write(picture(Path(sys.argv[1]).read_text(encoding="utf-8")))
