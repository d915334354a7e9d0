"""``ibloop systemd``: put the units in place, check them, compare them with the package's."""

import difflib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ibloop.cli.common import emit, json_option
from ibloop.cli.terminal import table
from ibloop.errors import ConfigError, Exit

UNITS = "lib/systemd/system"
PLACES = {"system": UNITS, "sysusers.d": "lib/sysusers.d", "tmpfiles.d": "lib/tmpfiles.d"}
"""Directory of the package's ``systemd`` tree -> where its files go below the prefix."""
PREFIXES_READ = ("/usr/local", "/usr")
"""systemd looks for units below these (systemd.unit(5)), and nowhere else below a prefix."""


class _AbsolutePath(click.ParamType[Path]):
    """A path that means the same wherever the command is called."""

    name = "path"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path, or fail as click does."""
        path = Path(value)
        if not path.is_absolute():
            self.fail(f"expected an absolute path, was {value}", param, ctx)
        return path


def _installation(command: click.decorators.FC) -> click.decorators.FC:
    """Add the options that name an installation."""
    path = _AbsolutePath()
    prefix = click.option(
        "--prefix", type=path, default="/usr/local", show_default=True, help="Below the root."
    )
    root = click.option(
        "--root", type=path, default="/", show_default=True, help="Of an image or a package."
    )
    return root(prefix(command))


@click.group()
def systemd() -> None:
    """Install, check and compare the systemd units."""


@systemd.command()
@_installation
@click.option("--dry-run", is_flag=True, help="Say what would be written; write nothing.")
def install(root: Path, prefix: Path, dry_run: bool) -> None:
    """Put units, user and directories in place; enable and start nothing.

    Units go below PREFIX/lib; /etc/systemd/system stays yours. Without --root, and where systemd
    runs, the user ibloop and its directories are made and systemd reads its units anew.

    \b
    Example:
      ibloop systemd install
      systemctl enable --now ibloop@paper.target
    """
    for path, text in _rendered(root, prefix).items():
        before = _text(path)
        word = "new" if before is None else "same" if before == text else "changed"
        click.echo(f"{word}\t{path}")
        if before != text and not dry_run:
            _write(path, text)
    if str(prefix) not in PREFIXES_READ:
        click.echo(f"systemd reads no units below {prefix}: link them", err=True)
    if dry_run:
        return
    if root == Path("/") and Path("/run/systemd/system").is_dir():
        _activate(prefix)
    from ibloop.cli.systemd_verify import program_findings

    for finding in program_findings(root / prefix.relative_to("/") / UNITS, root):
        click.echo(finding, err=True)
    click.echo("nothing is enabled or started: systemctl enable --now ibloop@NAME.target", err=True)


@systemd.command()
@_installation
@json_option
def verify(root: Path, prefix: Path, as_json: bool) -> None:
    """Check the installed units, or the package's own where none are installed.

    Asks systemd-analyze: any complaint is a finding, and so is an exposure above 1.5 (gateway:
    2.0), or a program that is missing or hidden from the units. Exits 1 with the findings.

    \b
    Example:
      ibloop systemd verify
    """
    from ibloop.cli.systemd_verify import verify_units

    installed = root / prefix.relative_to("/") / UNITS
    own = not (installed / "ibloop.target").exists()
    checked = verify_units(_package() / "system" if own else installed, None if own else root)
    rows = [(e.unit, f"{e.exposure:.1f}", f"{e.limit:.1f}") for e in checked.exposures]
    text = table(("UNIT", "EXPOSURE", "LIMIT"), rows)
    emit("systemd.verify", checked, as_json, "\n".join((text, *checked.findings)))
    where = "the package's own units: none are installed" if own else str(installed)
    click.echo(f"checked {where}; {len(checked.findings)} findings", err=True)
    raise SystemExit(Exit.FAILED if checked.findings else Exit.OK)


@systemd.command()
@_installation
def diff(root: Path, prefix: Path) -> None:
    """Show how the installed files differ from what this ibloop would install.

    Exits 1 when they do. What you changed with `systemctl edit` is elsewhere and not looked at.

    \b
    Example:
      ibloop systemd diff
    """
    rendered = _rendered(root, prefix)
    lines = [line for path, text in rendered.items() for line in _diff(path, text)]
    units = root / prefix.relative_to("/") / UNITS
    files = (path for path in sorted(units.glob("ibloop*")) if path.is_file())
    lines.extend(f"only installed: {path}\n" for path in files if path not in rendered)
    click.echo("".join(lines), nl=False)
    click.echo("different" if lines else "the same", err=True)
    raise SystemExit(Exit.FAILED if lines else Exit.OK)


def _package() -> Path:
    """Return the package's ``systemd`` tree: in the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "_systemd"
    return installed if installed.is_dir() else package.parent / "systemd"


def _rendered(root: Path, prefix: Path) -> dict[Path, str]:
    """Return every file to install by its path, with ``@BINDIR@`` filled in.

    Raises: ConfigError when the package has no units.
    """
    package, bindir = _package(), str(_bindir(root))
    found = {}
    for name, place in PLACES.items():
        for source in sorted((package / name).rglob("*")):
            if source.is_file():
                target = root / prefix.relative_to("/") / place / source.relative_to(package / name)
                found[target] = source.read_text(encoding="utf-8").replace("@BINDIR@", bindir)
    if not found:
        raise ConfigError(f"there are no units in {package}: install ibloop anew")
    return found


def _bindir(root: Path) -> Path:
    """Return the directory of the running ibloop, as it is called once ``root`` is ``/``."""
    bindir = Path(sys.executable).absolute().parent
    return Path("/") / bindir.relative_to(root) if bindir.is_relative_to(root) else bindir


def _write(path: Path, text: str) -> None:
    """Write a file that everybody may read, whole or not at all, whatever the umask is."""
    for directory in reversed(path.parents):
        if not directory.exists():
            directory.mkdir()
            directory.chmod(0o755)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(0o644)
    temporary.replace(path)


def _activate(prefix: Path) -> None:
    """Make user and directories, and let systemd read its units anew.

    Raises: ConfigError when one of these fails.
    """
    import subprocess

    lib = prefix / "lib"
    for command in (
        ("systemd-sysusers", str(lib / "sysusers.d" / "ibloop.conf")),
        ("systemd-tmpfiles", "--create", str(lib / "tmpfiles.d" / "ibloop.conf")),
        ("systemctl", "daemon-reload"),
    ):
        click.echo(" ".join(command), err=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"{command[0]} failed: {done.stderr.strip()}")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _diff(path: Path, packaged: str) -> Iterator[str]:
    before = _text(path)
    if before is None:
        yield f"not installed: {path}{os.linesep}"
        return
    lines = (before.splitlines(keepends=True), packaged.splitlines(keepends=True))
    yield from difflib.unified_diff(*lines, fromfile=str(path), tofile="packaged")
