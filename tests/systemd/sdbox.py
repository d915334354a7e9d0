"""A box: the systemd of this machine booted as PID 1 of namespaces that are thrown away.

It sees the machine's own files under an overlay whose upper layer is memory, has a network with
nothing but loopback, its own processes, and a cgroup tree of its own. What happens in it stays in
it, with one exception: the clock is the machine's, so the capability to set it is dropped for PID 1
and for every command run inside, along with modules, raw I/O and device nodes.

Needs root with CAP_SYS_ADMIN, systemd, util-linux, overlayfs and a writable cgroup2 mount.
"""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

SYSTEMD = "/lib/systemd/systemd"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TOOLS = ("unshare", "nsenter", "setpriv", "runuser", "systemctl", "mount", "pivot_root", "ip")
NAMESPACES = ("--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--net")
ENTER = ("-m", "-u", "-i", "-p", "-C", "-n", "-r", "-w")
BOOT_S_MAX = 60.0
COMMAND_S_MAX = 120.0

# Units of the machine that make no sense here, or that reach out of the box.
_MASKED = """
sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount
sys-fs-fuse-connections.mount dev-hugepages.mount
proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount
modprobe@.service systemd-modules-load.service kmod-static-nodes.service systemd-sysctl.service
systemd-timesyncd.service systemd-networkd.service systemd-resolved.service systemd-udevd.service
systemd-udev-trigger.service systemd-remount-fs.service systemd-random-seed.service
systemd-update-utmp.service systemd-machine-id-commit.service systemd-firstboot.service
systemd-pstore.service systemd-binfmt.service systemd-repart.service
apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer man-db.timer
dpkg-db-backup.timer getty.target getty-static.service console-getty.service cron.service
"""

_DROPPED = """
sys_time wake_alarm sys_module sys_rawio mknod syslog mac_admin mac_override bpf perfmon sys_pacct
"""
DROPPED = ",".join(f"-{name}" for name in _DROPPED.split())

# Runs inside the new namespaces; $1 is an empty directory, $2 a script that prepares $R.
INIT = rf"""
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 ibloop-box "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
R=$1/root
mount -t proc -o nosuid,nodev,noexec proc "$R/proc"
mount --bind "$R/proc/sys" "$R/proc/sys"
mount -o remount,bind,ro "$R/proc/sys"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$R/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$R/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid tmpfs "$R/dev"
for name in null zero full random urandom tty; do cp -a "/dev/$name" "$R/dev/"; done
mkdir "$R/dev/pts" "$R/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$R/dev/shm"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$R/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$R/tmp"
. "$2"
ip link set lo up
cd "$R"
mkdir -p .old
pivot_root . .old
umount -l /.old
mount --make-rshared /  # without it LoadCredential= yields an empty directory
exec setpriv --bounding-set={DROPPED} env -i container=ibloop-box PATH={PATH} LANG=C.UTF-8 \
  {SYSTEMD} --system --unit=box.target --log-target=journal --show-status=0
"""

TARGET = """[Unit]
Requires=basic.target
Wants=dbus.service
After=basic.target dbus.service
AllowIsolate=yes
"""
JOURNAL = "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n"


class BoxError(AssertionError):
    """The box did not do what it was asked."""


def cgroup2_root() -> Path | None:
    """Return a cgroup2 mount that we can write to."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(where, os.W_OK):
            return Path(where)
    return None


def why_not() -> str | None:
    """Return why no box can be booted here; None when it can."""
    if os.geteuid() != 0:
        return "not root"
    if not Path(SYSTEMD).exists():
        return f"{SYSTEMD} is not installed"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if cgroup2_root() is None:
        return "no writable cgroup2 mount"
    trial = (
        "mount --make-rprivate / && mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w /mnt/r && "
        "mount -t overlay o -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r && "
        "mount -t proc p /mnt/r/proc && mount -t cgroup2 c /mnt/r/mnt"
    )
    command = ("unshare", *NAMESPACES, "sh", "-c", trial)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"namespaces or mounts are refused: {done.stderr.strip()[:200]}"
    return None


class Box:
    """A booted box; leaving the ``with`` block powers it off and leaves nothing behind."""

    def __init__(self, binds: Mapping[Path, str]) -> None:
        """Boot with directories of the machine bound read-only: ``{machine's: box's}``."""
        root = cgroup2_root()
        if root is None:
            raise BoxError("no cgroup2")
        self._base = Path(tempfile.mkdtemp(prefix="ibloop-box-"))
        self._empty = self._base / "root"
        self._empty.mkdir()
        self._group = root / self._base.name
        self._group.mkdir()
        (self._base / "init").write_text(INIT, encoding="utf-8")
        (self._base / "prepare").write_text(_preparation(binds), encoding="utf-8")
        self._log = self._base / "log"
        start = (
            f"echo $$ > {self._group}/cgroup.procs && exec unshare {' '.join(NAMESPACES)} "
            f"--kill-child bash {self._base}/init {self._empty} {self._base}/prepare"
        )
        command = ("bash", "-c", start)
        with self._log.open("wb") as log:
            self._outer = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.init_pid = 0
        try:
            self.until(self._is_up, "the box to boot", BOOT_S_MAX)
        except BoxError as error:
            said = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
            self._kill()
            self._clean()
            raise BoxError(f"{error}: {said}") from None

    def __enter__(self) -> "Box":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Power off, or kill what does not."""
        self.run("systemctl", "poweroff", "--no-block", check=False)
        try:
            self._outer.wait(30.0)
        except subprocess.TimeoutExpired:
            self._kill()
        self._clean()

    def run(
        self, *command: str, check: bool = True, stdin: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in the box as root; raise BoxError when it fails and ``check`` is set."""
        enter = ("nsenter", "-t", str(self.init_pid), *ENTER, "--")
        drop = ("setpriv", f"--bounding-set={DROPPED},-sys_boot", "--")
        clean = ("env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0")
        done = subprocess.run(
            (*enter, *drop, *clean, *command),
            capture_output=True,
            text=True,
            check=False,
            input=stdin,
            timeout=COMMAND_S_MAX,
        )
        if check and done.returncode:
            raise BoxError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Run systemctl and return its output."""
        return self.run("systemctl", "--no-pager", *arguments, check=check).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.systemctl("show", unit, "--property", name, "--value")

    def journal(self, unit: str, *arguments: str) -> str:
        """Return what the journal has of a unit."""
        command = ("journalctl", "--no-pager", "-b", "-o", "cat", "-u", unit)
        return self.run(*command, *arguments).stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the box."""
        self.run("mkdir", "-p", str(Path(path).parent))
        self.run("tee", path, stdin=text)
        self.run("chmod", f"{mode:o}", path)

    def path(self, path: str) -> Path:
        """Return where a path of the box is for this process."""
        return Path(f"/proc/{self.init_pid}/root{path}")

    def until(self, condition: Callable[[], object], what: str, limit_s: float = 30.0) -> None:
        """Wait until a condition holds. Raises: BoxError."""
        deadline = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > deadline:
                raise BoxError(f"expected {what} within {limit_s:g} s")
            time.sleep(0.05)

    def _is_up(self) -> bool:
        if self._outer.poll() is not None:
            raise BoxError(f"the box ended with {self._outer.returncode}")
        self.init_pid = self.init_pid or self._find_init()
        if not self.init_pid or not self.path("/run/systemd/private").exists():
            return False
        return self.systemctl("is-system-running", check=False) in ("running", "degraded")

    def _find_init(self) -> int:
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        try:
            for pid in children.read_text(encoding="utf-8").split():
                if Path(f"/proc/{pid}/exe").readlink().name == "systemd":
                    return int(pid)
        except OSError:  # it has not got so far, or is changing its program just now
            pass
        return 0

    def _kill(self) -> None:
        """Kill the box's PID 1; the kernel then ends every process in it."""
        for pid in (self.init_pid, self._outer.pid):
            try:
                if pid:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._outer.wait(10.0)

    def _clean(self) -> None:
        """Remove the control groups and the few files outside."""
        deadline = time.monotonic() + 10.0
        for directory, _, _ in os.walk(self._group, topdown=False):
            while Path(directory).exists():
                try:
                    Path(directory).rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
        shutil.rmtree(self._base)


def _preparation(binds: Mapping[Path, str]) -> str:
    """Return the shell lines that prepare the file system below $R."""
    etc = '"$R/etc/systemd'
    lines = [
        # Forget what the machine has enabled, and its own installation of ibloop.
        f'rm -rf {etc}/system"; mkdir -p {etc}/system" {etc}/journald.conf.d"',
        'rm -rf "$R/etc/ibloop" "$R/var/lib/ibloop" "$R/etc/credstore"',
        *(f'ln -s /dev/null {etc}/system/{unit}"' for unit in _MASKED.split()),
        _print(TARGET, f'{etc}/system/box.target"'),
        _print(JOURNAL, f'{etc}/journald.conf.d/box.conf"'),
        'rm -f "$R/etc/machine-id"; : > "$R/etc/machine-id"; echo box > "$R/etc/hostname"',
    ]
    for source, target in binds.items():
        where = f'"$R"{shlex.quote(target)}'
        lines.append(f"mkdir -p {where}; mount --bind {shlex.quote(str(source))} {where}")
        lines.append(f"mount -o remount,bind,ro {where}")
    return "\n".join(lines) + "\n"


def _print(text: str, where: str) -> str:
    return f"printf %s {shlex.quote(text)} > {where}"


def as_user(user: str, command: Sequence[str]) -> tuple[str, ...]:
    """Return a command that runs as a user of the box with all of that user's groups."""
    return ("runuser", "-u", user, "--", *command)
